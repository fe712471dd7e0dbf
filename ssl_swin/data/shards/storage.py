"""The interface to the tars of a set, wherever they are: on this machine or far away."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from ssl_swin.data.shards.left_out import LeftOut
from ssl_swin.data.shards.manifest import Entry

NeededAt = Callable[[int], tuple[list[int], int]]
"""A step -> the shards it needs, the most urgent first, and the next step that needs others."""


class Prefetch(ABC):
    """Brings the shards that a run needs next, while it reads those it needs now."""

    @abstractmethod
    def reached(self, step: int) -> None:
        """Say that no step before this one is being read any more."""

    @abstractmethod
    def close(self) -> None:
        """Let go of every shard."""


class Storage(ABC):
    """The tars of a set, in the set's order. May be pickled, and used after a fork.

    A shard is named by its place in `paths`, counted from 0.
    """

    paths: tuple[Path, ...]
    """The tars; of remote ones, their places in the cache of this machine."""
    entries: tuple[Entry, ...]
    """What is known of each tar: samples, bytes, perhaps a hash, what is in no sample."""
    left_out: LeftOut
    """What the set's pattern names beside its tars."""
    num_cheap_reads: ClassVar[int]
    """Most samples of which a report reads all; of a larger set it reads some."""
    request_bytes: ClassVar[int | None]
    """Bytes that one request for a piece fetches at least; None if pieces are cheap."""

    @abstractmethod
    def rows(self, shard: int) -> np.ndarray:
        """Return the index of a shard, mapped into memory, `SAMPLE_DTYPE` (count,).

        Raises:
            ShardError: If the index is missing, or the tar changed since it was indexed.
        """

    @abstractmethod
    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Read bytes of a tar; fewer only where it ends. A remote tar is fetched whole.

        Raises:
            ShardError: If the tar is not what its index says, or cannot be had.
            OSError: If the storage fails again and again.
        """

    @abstractmethod
    def read_piece(self, shard: int, offset: int, size: int) -> bytes:
        """Do what `read` does, but fetch no more of the tar than these bytes."""

    @abstractmethod
    def read_pieces(self, shard: int, places: Sequence[tuple[int, int]]) -> list[bytes]:
        """Do the same for many pieces, each an offset and a size; threads may call it at once."""

    @abstractmethod
    def kept_labels(self, shard: int, field: str) -> np.ndarray | None:
        """Return the classes in the label file of a shard, int64 (count,); None if there is none.

        Raises:
            ShardError: As `rows`.
        """

    @abstractmethod
    def keep_labels(self, shard: int, field: str, labels: np.ndarray) -> None:
        """Write the label file of a shard, where that is possible; else they are read again."""

    @abstractmethod
    def read_beside(self, name: str) -> dict[str, bytes]:
        """Return the files of a name in the folders of the tars, by their paths or URLs.

        Raises:
            RemoteError: If one is there and does not come.
        """

    @abstractmethod
    def label_lock(self, shard: int) -> Path:
        """Return the file that whoever reads the labels of a shard and those after it locks."""

    @abstractmethod
    def where(self, shard: int) -> str:
        """Return the path or the URL of a shard, for people to read."""

    @abstractmethod
    def keep_open(self, num_shards: int) -> int:
        """Keep so many shards open, since reads will go to them in turns; return how many may be.

        It holds for this process and those that it will start.
        """

    @abstractmethod
    def close(self) -> None:
        """Close every tar; they are opened again when they are read again."""

    @abstractmethod
    def join(self, others: Sequence[Self]) -> Self:
        """Return these tars and, after them, those of others of the same kind."""

    @abstractmethod
    def impatient(self) -> "Storage":
        """Return the same tars, opened anew and not waited for long, for a report."""

    @abstractmethod
    def bring(self, num_samples: int) -> int:
        """Bring shards, from the first on, until they hold so many samples; return their number.

        Raises:
            ShardError: If one cannot be had.
        """

    @abstractmethod
    def fetch_ahead(self, needed_at: NeededAt) -> Prefetch:
        """Return what brings shards ahead of need, from the first step on that it is told."""

    @abstractmethod
    def cached_bytes(self, least_bytes: Callable[[], int]) -> int:
        """Return `least_bytes()` if these shards go through the cache, else 0, without a call."""

    @abstractmethod
    def cache_line(self, least_bytes: int) -> str | None:
        """Say in one line how much cache a run has for all its sets; None if there is no cache.

        Raises:
            ShardError: If it may hold less than `least_bytes`.
        """
