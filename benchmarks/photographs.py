"""JPEGs as in ImageNet, cut from photographs, for `stream.py` to read."""

import importlib.util
import io
from pathlib import Path

import numpy as np
from PIL import Image

LONG_SIDE = 500  # of the photographs, pixels: ImageNet's most frequent
MEAN_BYTES = 110_000  # of a photograph: ImageNet's mean
SHIPPED = {  # photographs of at least 500 pixels that come with two packages
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
    "skimage": (
        "data/astronaut.png",
        "data/coffee.png",
        "data/rocket.jpg",
        "data/motorcycle_left.png",
        "data/hubble_deep_field.jpg",
    ),
}


def photographs(folder: Path | None) -> list[Path]:
    """Return the photographs to cut from: the user's, or those that ship with two packages.

    Raises:
        ValueError: If there are none.
    """
    if folder is not None:
        kinds = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in kinds)
    else:
        specs = {name: importlib.util.find_spec(name) for name in SHIPPED}
        found = [
            Path(spec.origin).parent / path
            for name, spec in specs.items()
            if spec is not None and spec.origin is not None
            for path in SHIPPED[name]
        ]
    if not found:
        raise ValueError("no photographs: install scikit-learn and scikit-image, or give --photos")
    return found


def make_jpegs(sources: list[Path], out: Path, num: int) -> None:
    """Write JPEGs as in ImageNet: random parts of photographs, not enlarged."""
    out.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(num):
        image = Image.open(sources[number % len(sources)]).convert("RGB")
        width, height = image.size
        share = draw.uniform(min(1.0, LONG_SIDE / max(image.size)), 1.0)
        w, h = int(width * share), int(height * share)
        left, top = draw.integers(width - w + 1), draw.integers(height - h + 1)
        scale = min(1.0, LONG_SIDE / max(w, h))
        part = image.crop((left, top, left + w, top + h)).resize(
            (round(w * scale), round(h * scale)), Image.Resampling.BICUBIC
        )
        wanted = MEAN_BYTES * draw.uniform(0.7, 1.8)  # some cannot be made so large
        subsampling = 0 if draw.uniform() < 0.3 else 2  # 4:4:4 or 4:2:0
        low, high = 50, 98
        while low < high:  # the quality that comes closest from above
            quality = (low + high) // 2
            buffer = io.BytesIO()
            part.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
            low, high = (quality + 1, high) if buffer.tell() < wanted else (low, quality)
        (out / f"{number:05d}.jpg").write_bytes(buffer.getvalue())
