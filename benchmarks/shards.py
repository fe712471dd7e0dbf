"""The shards that `stream.py` and `against.py` read: made once, of photographs."""

import argparse
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from loaders import SCALE
from photographs import make_jpegs, photographs
from PIL import Image

from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.open import open_shards
from ssl_swin.data.pixels.transforms import TrainTransform
from ssl_swin.shard_tools.assign import PackOptions
from ssl_swin.shard_tools.create import create

SHORT_SIDE = 256


def prepare(options: argparse.Namespace) -> list[str]:
    """Make what is read, once, and describe it.

    Raises:
        ValueError: If there is nothing to make it of, or the folder holds something else.
    """
    jpegs = options.out / "photographs" / "all"
    sources, source = photographs(options.photos)
    made_of = options.out / "made_of.txt"  # written last, so that a half-made folder has none
    what = f"{options.images} JPEGs cut from {source}\n"
    if not made_of.exists():
        shutil.rmtree(jpegs, ignore_errors=True)
        make_jpegs(sources, jpegs, options.images)
        made_of.write_text(what, encoding="utf-8")
    elif (there := made_of.read_text(encoding="utf-8")) != what:
        raise ValueError(
            f"{options.out} holds {there.strip()}, not {what.strip()}; give another --out"
        )
    for name, short_side in (("originals", None), (f"short-side-{SHORT_SIDE}", SHORT_SIDE)):
        if not (options.out / name / "index.json").exists():
            create(
                jpegs.parent,
                options.out / name,
                PackOptions(samples_per_shard=128, short_side=short_side),
                num_workers=1,
            )
    lines = [f"- cut from {source}"]
    for name in ("originals", f"short-side-{SHORT_SIDE}"):
        data = list(read_all(options.out / name))
        sizes = [sorted(Image.open(io.BytesIO(each)).size) for each in data]
        short, long = np.median(sizes, axis=0)
        mean_bytes = np.mean([len(each) for each in data])
        lines.append(
            f"- {name}: {len(data)} JPEGs, {long:.0f} x {short:.0f} pixels (median), "
            f"{mean_bytes / 1e3:.0f} kB (mean)"
        )
    return lines


def read_all(folder: Path) -> Iterator[bytes]:
    shards = open_shards(str(folder))
    reader = ImageStream(shards, TrainTransform(0, 8, SCALE), 8, 3).reader
    for shard, row in zip(*shards.locate(np.arange(shards.num_samples)), strict=True):
        yield reader.read(int(shard), int(row))
