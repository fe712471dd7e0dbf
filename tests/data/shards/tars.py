"""Builds small real tars and images for the tests of this folder."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from ssl_swin.data.shards.indexing import index_shards
from ssl_swin.data.shards.local import LocalShards
from ssl_swin.data.shards.manifest import Entry
from ssl_swin.data.shards.shard_set import ShardSet

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def image_bytes(seed: int, kind: str = "PNG", size: tuple[int, int] = (6, 4), mode="RGB") -> bytes:
    """A noise image, different for every seed."""
    shape = (size[1], size[0], len(mode)) if len(mode) > 1 else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def write_tar(path: Path, members, format: str = "pax") -> Path:
    """A tar of (name, bytes) pairs, or of whole TarInfos without a payload."""
    with tarfile.open(path, "w", format=FORMATS[format]) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return path


def samples(num: int, first: int = 0, labelled: bool = True):
    """Members of `num` samples; the payloads need not be images for readers of bytes."""
    members = []
    for place in range(first, first + num):
        members.append((f"s{place:04d}.png", b"image %d" % place * (1 + place % 3)))
        if labelled:
            members.append((f"s{place:04d}.cls", b"%d" % (place % 10)))
    return members


def numbered_tars(folder: Path, counts, name: str = "train-{:06d}.tar") -> Path:
    """A folder of tars of so many samples each, numbered through."""
    folder.mkdir(exist_ok=True)
    first = 0
    for place, count in enumerate(counts):
        write_tar(folder / name.format(place), samples(count, first))
        first += count
    return folder


def indexed_tars(folder: Path, counts, name: str = "train-{:06d}.tar") -> Path:
    """The same, with their indexes."""
    index_shards(sorted(numbered_tars(folder, counts, name).glob("*.tar")))
    return folder


def plain_entries(counts, sizes) -> tuple[Entry, ...]:
    """What is known of tars that nobody opens."""
    return tuple(map(Entry, map(int, counts), map(int, sizes)))


def plain_set(counts, sizes) -> ShardSet:
    """A set of local tars that nobody opens."""
    return ShardSet(LocalShards((), plain_entries(counts, sizes)))
