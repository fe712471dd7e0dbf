"""Where features lie: blocks of images that several processes write, then one array of all.

A folder of the cache is of one network, layer and set of images, by their fingerprints. Each file
in it is written whole or not at all, and `features.json` last. Several commands may make the same.
"""

import hashlib
import json
import math
import os
import time
import zipfile
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssl_swin.data.shards.user_cache import make_cache
from ssl_swin.errors import MachineError
from ssl_swin.files import replacing
from ssl_swin.record.lines import write_text

_BLOCK = 256  # images: what a killed process does again, at most
_MOST_BLOCKS = 4096  # of larger sets blocks are larger
_VALUES, _GOOD, _FACTS = "features.npy", "good.npy", "features.json"
_WHOLE = {_VALUES, _GOOD, _FACTS}
_OLD_S = 3600.0  # since a file was begun that another command may yet be writing
_DAMAGED = (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)  # of `numpy.load`


@dataclass(frozen=True)
class Features:
    """The features of a set of images at one layer of a frozen network."""

    values: np.ndarray  # float32 (num_images, num_features), mapped from the disk; read only
    good: np.ndarray  # bool (num_images,): whether an image could be decoded; else its row is NaN

    @property
    def num_broken(self) -> int:
        """Images that cannot be decoded."""
        return int((~self.good).sum())


def features_folder(of: Iterable[str], cache_dir: Path | None) -> Path:
    """Return the folder of the cache for what these fingerprints and words say.

    Raises:
        ShardError: If there is no cache, and none can be made.
    """
    digest = hashlib.sha256("\0".join(of).encode()).hexdigest()
    return make_cache("features", cache_dir) / "features" / digest[:32]


class Store:
    """The features of so many images in one folder, on their way and whole."""

    def __init__(self, folder: Path, num_images: int) -> None:
        self.folder, self.num_images = folder, num_images
        self.block_size = _BLOCK * max(1, math.ceil(num_images / _BLOCK / _MOST_BLOCKS))
        self.num_blocks = math.ceil(num_images / self.block_size)

    def bounds(self, block: int) -> tuple[int, int]:
        """Return the first image of a block, and the one after its last."""
        start = block * self.block_size
        return start, min(start + self.block_size, self.num_images)

    def is_whole(self) -> bool:
        """Whether all features are there, as one array."""
        return self._names() >= _WHOLE

    def missing(self) -> list[int]:
        """Return the blocks that are not there yet, and are still needed."""
        there = self._names()
        if there >= _WHOLE:
            return []
        return [one for one in range(self.num_blocks) if self._block(one).name not in there]

    def num_done(self) -> int:
        """Return how many images are done."""
        bounds = [self.bounds(block) for block in self.missing()]
        return self.num_images - sum(stop - start for start, stop in bounds)

    def write(self, block: int, values: np.ndarray, good: np.ndarray) -> None:
        """Keep a block: float32 (images, num_features), bool (images,)."""
        with replacing(self._block(block)) as file:
            np.savez(file, values=values, good=good)
        if self.is_whole():  # another command has cleaned up
            self._block(block).unlink(missing_ok=True)

    def assemble(self, facts: dict[str, Any]) -> None:
        """Make one array of all blocks, which go then; `facts` say what it is."""
        if self.is_whole():
            return
        try:
            self._assemble(facts)
        except FileNotFoundError:  # another command has made it whole, and has no need of blocks
            if not self.is_whole():
                raise

    def _assemble(self, facts: dict[str, Any]) -> None:
        goods: list[np.ndarray] = []
        with replacing(self.folder / _VALUES) as file:
            for block in range(self.num_blocks):
                values, good = self._read(block)
                if not block:
                    shape = (self.num_images, values.shape[1])
                    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_2_0(file, header)
                file.write(np.ascontiguousarray(values, "<f4").tobytes())
                goods.append(good)
        with replacing(self.folder / _GOOD) as file:
            np.save(file, np.concatenate(goods))
        write_text(self.folder / _FACTS, json.dumps(facts, indent=2))
        for path in self.folder.glob("block-*.npz"):
            path.unlink(missing_ok=True)
        for path in self.folder.glob(".*.partial"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _OLD_S:
                    path.unlink()

    def _read(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the values of a block, and which images are good; one that is damaged goes."""
        path = self._block(block)
        try:
            with path.open("rb") as file, np.load(file) as kept:
                return kept["values"], kept["good"]
        except _DAMAGED as error:
            path.unlink(missing_ok=True)
            raise MachineError(
                f"{path} was damaged and is removed; the same command makes it again: {error}"
            ) from error

    def open(self) -> Features:
        """Open the array.

        Raises:
            MachineError: If it is not what was written.
        """
        try:
            values = np.load(self.folder / _VALUES, mmap_mode="r")
            good = np.load(self.folder / _GOOD)
        except _DAMAGED as error:
            raise MachineError(
                f"{self.folder} is damaged, remove it; the same command makes it again: {error}"
            ) from error
        return Features(values, good)

    def _names(self) -> set[str]:
        """Return what is in the folder. Network storage may deny a new file, but not list it so."""
        with suppress(FileNotFoundError):
            return {*os.listdir(self.folder)}
        return set()

    def _block(self, block: int) -> Path:
        return self.folder / f"block-{block:06d}.npz"
