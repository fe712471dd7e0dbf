"""JPEGs as in ImageNet, cut from photographs, for `stream.py` and `against.py` to read."""

import argparse
import importlib.util
import io
from collections.abc import Callable
from functools import partial
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


INSTALL = "pip install -e '.[bench]'"
Sources = list[Callable[[], Image.Image]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is read."""
    parser.add_argument("--out", type=Path, required=True, help="folder for what is read")
    parser.add_argument("--photos", type=Path, help="photographs of your own to cut from")
    parser.add_argument("--images", type=int, default=384, help="JPEGs to make")


def photographs(folder: Path | None) -> tuple[Sources, str]:
    """Return what to cut from, and say what it is: photographs, or noise where there are none.

    Args:
        folder: The user's own; if there is none, those that ship with two packages are taken.

    Raises:
        ValueError: If the user's folder holds no image.
    """
    if folder is not None:
        kinds = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in kinds)
        if not found:
            raise ValueError(f"--photos {folder} holds no jpg, png, webp or tif; give another")
        return [partial(_open, path) for path in found], f"{len(found)} photographs of --photos"
    found = [folder / path for name, folder in _packages().items() for path in SHIPPED[name]]
    if found:
        of = " and ".join(_packages())
        return [partial(_open, path) for path in found], f"{len(found)} photographs of {of}"
    noise = f"noise, for want of photographs ({INSTALL}, or --photos FOLDER): figures say little"
    return [partial(_draw_noise, seed) for seed in range(4)], noise


def _packages() -> dict[str, Path]:
    specs = {name: importlib.util.find_spec(name) for name in SHIPPED}
    return {name: Path(spec.origin).parent for name, spec in specs.items() if spec and spec.origin}


def _open(path: Path) -> Image.Image:
    return Image.open(path).convert("RGB")


def _draw_noise(seed: int) -> Image.Image:
    """Draw colours that vary at every scale, the more so the larger the scale."""
    draw, size = np.random.default_rng(seed), (LONG_SIDE + 140, LONG_SIDE - 20)
    image = Image.new("RGB", size, (128, 128, 128))
    for octave in range(1, 9):
        pixels = draw.integers(0, 256, (2**octave, 2**octave, 3), dtype=np.uint8)
        layer = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
        image = Image.blend(image, layer, 0.35)
    return image


def make_jpegs(sources: Sources, out: Path, num: int) -> None:
    """Write JPEGs as in ImageNet: random parts of photographs, not enlarged."""
    out.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(num):
        image = sources[number % len(sources)]()
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
