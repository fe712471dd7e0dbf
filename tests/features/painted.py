"""Labelled shards of small images, each class in a colour of its own."""

import io
import json

import numpy as np
import webdataset
from PIL import Image

COLOURS = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [200, 200, 60], [60, 200, 200]])


def painted(folder, label, names=None, seed=0, broken=()):
    """Write a tar of images of these classes into a folder; None is an image without a label.

    With names, `label` holds those, and `classes.json` is their order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    known = sorted({one for one in label if one is not None})
    with webdataset.TarWriter(str(folder / "set-000000.tar")) as tar:
        for place, kind in enumerate(label):
            colour = COLOURS[(known.index(kind) if kind is not None else 0) % len(COLOURS)]
            noise = draw.normal(0, 45, size=(40, 36, 3))
            pixels = np.clip(colour + noise + 40 * draw.normal(size=3), 0, 255).astype(np.uint8)
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            data = b"no image" if place in broken else file.getvalue()
            sample = {"__key__": f"{place:05d}", "png": data}
            if kind is not None:
                sample["cls"] = names.index(kind) if names else kind
            tar.write(sample)
    if names:
        (folder / "classes.json").write_text(json.dumps(names))
    return folder
