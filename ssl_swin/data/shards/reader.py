"""Reads one sample of a set: the bytes of its image, its label, its key."""

import io
from collections.abc import Iterator
from hashlib import sha256
from weakref import WeakKeyDictionary

import numpy as np

from ssl_swin.data.shards.given import GivenLabels
from ssl_swin.data.shards.index_file import CLS_LABEL, NO_LABEL
from ssl_swin.data.shards.label_file import bytes_to_read, parse_label
from ssl_swin.data.shards.names import sample_key
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.data.shards.tar import DAMAGED, LINK_HEADER_BYTES, changed, open_headers
from ssl_swin.errors import ShardError

_MOST_REQUESTS = 16
_MOST_PIECES = 10_000  # of a remote set, before its tars are fetched whole
_CONTENTS: WeakKeyDictionary[ShardSet, str] = WeakKeyDictionary()  # a set is let go of as ever


class ShardReader:
    """Reads samples, named by shard and by row in it; may be pickled, and used after a fork.

    It fetches remote shards whole into the cache; if not `whole`, only the bytes asked for. Each
    method raises ShardError if the tar changed since it was indexed or a remote one cannot be had,
    and OSError if the storage fails again and again.
    """

    def __init__(self, shards: ShardSet, whole: bool = True) -> None:
        self.shards, self.storage = shards, shards.storage
        self._read = self.storage.read if whole else self.storage.read_piece

    def read(self, shard: int, row: int) -> bytes:
        """Return the image member's bytes."""
        entry = self.storage.rows(shard)[row]
        return self._bytes(shard, int(entry["offset"]), int(entry["size"]))

    def label(self, shard: int, row: int, field: str = "label") -> int:
        """The class of one sample: as given, its `.cls` member, or else this field of its `.json`.

        Raises:
            ShardError: If the sample has no label, or it is not a whole number of 0 or more.
        """
        if self.shards.given is not None:
            return self._given(self.shards.given, shard, row)
        kind, text = self.label_text(shard, row)
        label = parse_label(kind, text, field)
        if label < 0:
            what = ".cls" if kind == CLS_LABEL else f"field {field!r} of its .json,"
            said = (
                "neither a .cls nor a .json member" if kind == NO_LABEL else f"{what} {text[:60]!r}"
            )
            raise ShardError(
                f"sample {self.key(shard, row)!r} of {self.storage.where(shard)} has no usable "
                f"label: {said}; a label is a whole number of 0 or more in .cls, or in a field of "
                ".json"
            )
        return label

    def _given(self, given: GivenLabels, shard: int, row: int) -> int:
        label = int(given.number[self.shards.starts[shard] + row])
        if label < 0:
            raise ShardError(
                f"sample {self.key(shard, row)!r} of {self.storage.where(shard)} has no label in "
                f"{given.file or 'its tar'}; give it one, or leave it out"
            )
        return label

    def label_text(self, shard: int, row: int) -> tuple[int, bytes]:
        """Return the `label_kind` of one sample, and its label member, cut where it is too long."""
        entry = self.storage.rows(shard)[row]
        kind, size = int(entry["label_kind"]), int(entry["label_size"])
        if kind == NO_LABEL:
            return kind, b""
        size = bytes_to_read(kind, size)
        return kind, self._bytes(shard, int(entry["label_offset"]), size)

    def key(self, shard: int, row: int) -> str:
        """Return WebDataset's key of one sample, as its member's header names it."""
        entry = self.storage.rows(shard)[row]
        header, offset = int(entry["header"]), int(entry["offset"])
        if offset < header:  # a hard link, behind the file that it leads to
            offset = min(header + LINK_HEADER_BYTES, self.storage.entries[shard].num_bytes)
        head = self._bytes(shard, header, offset - header)
        try:
            with open_headers(io.BytesIO(head)) as tar:
                member = tar.next()
        except DAMAGED as error:
            raise changed(self.storage.where(shard), f"no header at {header}") from error
        if member is None:
            raise changed(self.storage.where(shard), f"no header at {header}")
        return sample_key(member.name)[0]

    def _bytes(self, shard: int, offset: int, size: int) -> bytes:
        found = self._read(shard, offset, size)
        if len(found) < size:
            raise changed(self.storage.where(shard), f"it ends at {offset + len(found)}")
        return found


def better_whole(shards: ShardSet) -> bool:
    """Say whether a piece of each sample takes so many requests that whole tars are faster."""
    return shards.storage.request_bytes is not None and shards.num_samples > _MOST_PIECES


def some_images(shards: ShardSet, num: int) -> Iterator[bytes]:
    """Read the bytes of so many images, spread evenly over a set; of a remote one, of fewer."""
    reader = ShardReader(shards, whole=False)
    for shard, row in some_places(shards, num):
        yield reader.read(shard, row)


def some_places(shards: ShardSet, num: int) -> list[tuple[int, int]]:
    """Return shard and row of what `some_images` reads."""
    if shards.storage.request_bytes is not None:
        num = min(num, _MOST_REQUESTS)
    return _spread(shards, num)


def content_of(shards: ShardSet) -> str:
    """Hash a set as `fingerprint` does, and what is in it, in order: the same for a copy elsewhere.

    That is where every image lies and how long it is, and key and bytes of some of them, so a set
    that was packed again in another order has another hash.
    """
    if shards in _CONTENTS:
        return _CONTENTS[shards]
    reader, digest = ShardReader(shards, whole=False), sha256(shards.fingerprint().encode())
    for shard in range(len(shards.counts)):
        digest.update(shards.storage.rows(shard).tobytes())
    for place in _spread(shards, _MOST_REQUESTS):
        digest.update(reader.key(*place).encode() + b"\0" + reader.read(*place))
    return _CONTENTS.setdefault(shards, digest.hexdigest())


def _spread(shards: ShardSet, num: int) -> list[tuple[int, int]]:
    """Return shard and row of so many samples, spread evenly over a set."""
    ids = np.linspace(0, max(shards.num_samples - 1, 0), min(num, shards.num_samples))
    shard, row = (one.tolist() for one in shards.locate(ids.astype(np.int64)))
    return list(zip(shard, row, strict=True))
