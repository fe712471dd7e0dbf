"""Draws `fashion-mnist-sample/` from Fashion-MNIST: unlabelled, training and test shards.

    python data/fashion_mnist.py --source FOLDER_WITH_THE_FOUR_IDX_FILES --out FOLDER
    python data/fashion_mnist.py --download --out FOLDER
    python data/fashion_mnist.py --source FOLDER --whole --out FOLDER    (all 70,000: train/, test/)

Debian's package dataset-fashion-mnist has the four files in /usr/share/datasets/fashion-mnist.
No two images of the sample have the same pixels. The draw depends on the seed only.
"""

import argparse
import gzip
import hashlib
import io
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from webdataset import TarWriter

from ssl_swin.data.shards.indexing import index_shards
from ssl_swin.files import replacing

NUM_CLASSES = 10
CLASSES = (
    *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)


@dataclass(frozen=True)
class Part:
    """One part of the sample, as it is cut into shards."""

    name: str
    origin: str
    """Which of the original sets it is drawn from: train or t10k."""
    shard_sizes: tuple[int, ...]
    """Unequal on purpose: nothing may depend on shards of one size."""
    labelled: bool
    earlier_draws: int = 0
    """Draws of this size put aside first, because their results have been seen."""

    @property
    def num_samples(self) -> int:
        """Images of all its shards."""
        return sum(self.shard_sizes)


PARTS = (
    Part("train", "train", (600, 400), labelled=True),
    # The first draw had been read when the demo's length was last changed.
    Part("test", "t10k", (1100, 900), labelled=True, earlier_draws=1),
    Part("pretrain", "train", (3000, 2500, 2000, 1500, 1000), labelled=False),
)


def read_idx(path: Path) -> np.ndarray:
    """Read one gzipped IDX file of bytes.

    Args:
        path: The file: images (num, 28, 28) or labels (num,).

    Raises:
        ValueError: If it is not an IDX file of unsigned bytes.
    """
    with gzip.open(path, "rb") as file:
        data = file.read()
    num_dims = data[3] if len(data) >= 4 else 0
    if data[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is not an IDX file of unsigned bytes; give the original files")
    shape = np.frombuffer(data, ">i4", num_dims, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * num_dims).reshape(shape)


def shuffled(num: int, *key: object) -> list[int]:
    """Places 0 to num - 1 in an order that depends on the key only."""
    text = " ".join(map(str, key))
    return sorted(range(num), key=lambda i: hashlib.sha256(f"{text} {i}".encode()).digest())


def draw(
    images: np.ndarray, labels: np.ndarray, part: Part, seed: int, seen: set[bytes]
) -> list[int]:
    """Choose a part's images, balanced if labelled, none with pixels that were seen before.

    Args:
        images: uint8 (num, 28, 28), the original set.
        labels: uint8 (num,).
        part: What to choose for.
        seed: Of the draw.
        seen: The pixels chosen so far; grows.

    Returns:
        Places in the original set, shuffled.

    Raises:
        ValueError: If the original set has too few different images.
    """
    room = np.full(NUM_CLASSES, part.num_samples)
    if part.labelled:
        room //= NUM_CLASSES
    chosen = []
    for place in shuffled(len(images), seed, part.name):
        pixels, label = images[place].tobytes(), labels[place]
        if room[label] and pixels not in seen:
            seen.add(pixels)
            room[label] -= 1
            chosen.append(place)
            if len(chosen) == part.num_samples:
                return chosen
    raise ValueError(
        f"{part.name} needs {part.num_samples} different images, the set has {len(chosen)} to "
        "give; read the original files"
    )


def encode_png(pixels: np.ndarray) -> bytes:
    """One grey image as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def write_shard(
    path: Path, origin: str, places: Iterable[int], images: np.ndarray, labels: np.ndarray | None
) -> None:
    """Write one shard; its keys tell the original set and the place in it."""
    with (
        replacing(path) as file,
        TarWriter(file, user="", group="", mtime=0, encoder=False) as tar,
    ):
        for place in places:
            sample = {"__key__": f"{origin}-{place:05d}", "png": encode_png(images[place])}
            if labels is not None:
                sample["cls"] = str(labels[place]).encode()
            tar.write(sample)


def cut(places: Sequence[int], sizes: Sequence[int]) -> Iterator[Sequence[int]]:
    """Cut a list into pieces of the given sizes."""
    start = 0
    for size in sizes:
        yield places[start : start + size]
        start += size


def make_sample(source: Path, out: Path, seed: int) -> None:
    """Draw and write all parts, their indexes and the manifest.

    Args:
        source: Folder of the four original files.
        out: Folder of the shards.
        seed: Of the draw.

    Raises:
        ValueError: If the files are not the original ones.
        OSError: If a file is missing, or `out` cannot be written to.
    """
    out.mkdir(parents=True, exist_ok=True)
    seen: set[bytes] = set()
    paths = []
    for part in PARTS:
        images = read_idx(source / f"{part.origin}-images-idx3-ubyte.gz")
        labels = read_idx(source / f"{part.origin}-labels-idx1-ubyte.gz")
        for _ in range(part.earlier_draws + 1):
            places = draw(images, labels, part, seed, seen)
        for number, piece in enumerate(cut(places, part.shard_sizes)):
            paths.append(out / f"{part.name}-{number:06d}.tar")
            write_shard(paths[-1], part.origin, piece, images, labels if part.labelled else None)
    index_shards(paths)
    write_classes(out)


def make_whole(source: Path, out: Path, seed: int) -> None:
    """Write all images with their labels, 10,000 a shard in a drawn order, and the classes' names.

    Raises:
        ValueError: If the files are not the original ones.
        OSError: If a file is missing, or `out` cannot be written to.
    """
    for origin, name in (("train", "train"), ("t10k", "test")):
        images = read_idx(source / f"{origin}-images-idx3-ubyte.gz")
        labels = read_idx(source / f"{origin}-labels-idx1-ubyte.gz")
        folder, places, paths = out / name, shuffled(len(images), seed, name), []
        folder.mkdir(parents=True, exist_ok=True)
        for number, piece in enumerate(cut(places, [10_000] * (len(places) // 10_000))):
            paths.append(folder / f"{name}-{number:06d}.tar")
            write_shard(paths[-1], origin, piece, images, labels)
        index_shards(paths)
        write_classes(folder)


def write_classes(folder: Path) -> None:
    """Write the names of the classes beside shards."""
    (folder / "classes.json").write_text(json.dumps(CLASSES), encoding="utf-8")


def download(folder: Path) -> Path:
    """Fetch the four files with torchvision and return their folder."""
    from torchvision.datasets import FashionMNIST

    FashionMNIST(str(folder), download=True)
    return folder / "FashionMNIST" / "raw"


def main() -> None:
    """Read the command line and make the sample."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument("--source", type=Path, help="folder of the four *-ubyte.gz files")
    origin.add_argument("--download", action="store_true", help="fetch them with torchvision")
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--seed", type=int, default=0, help="of the draw, a whole number")
    parser.add_argument("--whole", action="store_true", help="all images, in train/ and test/")
    args = parser.parse_args()
    make = make_whole if args.whole else make_sample
    with tempfile.TemporaryDirectory() as folder:
        make(args.source or download(Path(folder)), args.out, args.seed)


if __name__ == "__main__":
    main()
