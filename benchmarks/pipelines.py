"""What `stream.py` times: this package's stream and other loaders, as endless batches."""

import argparse
import importlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import simplejpeg
from loaders import RATIO, SCALE, Batches, Official, dali, litdata, plain_webdataset
from photographs import INSTALL
from shards import SHORT_SIDE, read_all
from torch.utils.data import DataLoader

from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.open import open_shards
from ssl_swin.data.order.lanes import Share
from ssl_swin.data.pixels.decode import Reading
from ssl_swin.data.pixels.transforms import TrainTransform

NOT_MEASURED = {  # peer -> why it is never measured here
    "spdl": "needs FFmpeg's libraries",
    "streaming": "mosaicml-streaming holds NumPy back at 2.1, so it cannot be installed beside",
}


def ours(folder: Path, img_size: int, decoder: str = "fast") -> ImageStream:
    transform = TrainTransform(0, img_size, SCALE, RATIO)
    return ImageStream(open_shards(str(folder)), transform, img_size, 3, reading=Reading(decoder))


class Cycle:
    """Batch sampler: all images in the order of the shards, `passes` times."""

    def __init__(self, num: int, batch: int, passes: int) -> None:
        self.draws = [
            Share(epoch, np.arange(start, min(start + batch, num)))
            for epoch in range(passes)
            for start in range(0, num, batch)
        ]

    def __iter__(self) -> Iterator[Share]:
        return iter(self.draws)

    def __len__(self) -> int:
        return len(self.draws)


def one_thread(options: argparse.Namespace) -> tuple[dict[str, Batches], list[str]]:
    """Return every pipeline as an endless stream of batches, and a line for each one missing."""
    out, size, batch = options.out, options.img_size, options.batch
    draws = Cycle(options.images, batch, 1).draws
    small = out / f"short-side-{SHORT_SIDE}"

    def endless(stream: ImageStream) -> Batches:
        return (stream.__getitems__(draw) for draw in chain.from_iterable(repeat(draws)))

    def loaded(make: Callable[[], object]) -> Batches:
        loader = partial(DataLoader, batch_size=batch)
        return chain.from_iterable(loader(make()) for _ in repeat(None))

    def decoding() -> Batches:
        data = list(read_all(out / "originals"))
        while True:
            for start in range(0, len(data), batch):
                yield [simplejpeg.decode_jpeg(each) for each in data[start : start + batch]]

    pipelines = {
        "official (PIL, torchvision)": loaded(lambda: Official(out / "photographs", size)),
        "ours": endless(ours(out / "originals", size)),
        "ours, decoder: pil": endless(ours(out / "originals", size, "pil")),
        f"ours, shards of short side {SHORT_SIDE}": endless(ours(small, size)),
        "webdataset (PIL, torchvision)": loaded(
            lambda: plain_webdataset(out / "originals", size, 1)
        ),
        "nothing but decoding": decoding(),
    }
    makes = {"litdata": partial(litdata, out), "nvidia.dali": partial(dali, out / "originals")}
    missing = []
    for name, make in makes.items():
        try:
            importlib.import_module(name)
        except ImportError as error:
            absent = error.name is not None and name.startswith(error.name)
            why = f"is not installed ({INSTALL})" if absent else f"cannot be imported: {error}"
            missing.append(f"- not measured: {name} {why}")
        else:
            pipelines[name] = make(size, batch)
    missing += [f"- not measured: {name} ({why})" for name, why in NOT_MEASURED.items()]
    return pipelines, missing
