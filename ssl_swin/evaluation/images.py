"""Which images a command line names: files, folders, shards and URLs -> one list of images."""

import glob
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ssl_swin.data.open import open_shards
from ssl_swin.data.pixels.channels import Names
from ssl_swin.data.pixels.decode import UnreadableImage
from ssl_swin.data.pixels.formats import by_extension
from ssl_swin.data.remote.urls import shown
from ssl_swin.data.shards.channel_names import channel_names_of
from ssl_swin.data.shards.folders import is_image, walk
from ssl_swin.data.shards.instead import run_instead
from ssl_swin.data.shards.left_out import AGAIN, NOT_AN_IMAGE, LeftOut, describe, leave_out
from ssl_swin.data.shards.names import expand_braces, has_tars, is_remote
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.data.shards.retry import Retry
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import MachineError, UserError

PATIENCE = Retry()  # with a server of images
_SHARDS = (".tar", ".tgz", ".tar.gz")  # of the last two the door of shards says what to do
_GONE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class Images(Protocol):
    """Images in an order, each named by its place, counted from 0; may be pickled."""

    def __len__(self) -> int: ...

    def name(self, place: int) -> str:
        """Return how people call an image: its path as given, its URL, or its key in a shard."""

    def read(self, place: int) -> bytes:
        """Return the bytes of an image.

        Raises:
            UnreadableImage: If this one file is not there, or may not be read.
            ShardError, RemoteError or OSError: If the storage fails, or a shard was changed.
        """

    def fingerprint(self) -> str:
        """Hash the names and their order, not the bytes."""

    def channel_names(self) -> dict[str, Names | None]:
        """Return where images are -> the names of their channels, if they have any.

        Raises:
            ShardError: If the file that names them is damaged.
        """


@dataclass(frozen=True)
class Files:
    """Images that are files of their own, here or at URLs."""

    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, place: int) -> str:
        """Return the path as it was given, or the URL without what is secret in it."""
        return shown(self.paths[place])

    def read(self, place: int) -> bytes:
        """Return the bytes of a file.

        Raises:
            MachineError: If its folder is gone, and with it perhaps all that is left.
        """
        path = self.paths[place]
        if is_remote(path):
            return _fetched(path)
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise UnreadableImage("is no file")
            return Path(path).read_bytes()
        except _GONE as error:
            if not (folder := Path(path).parent).is_dir():  # a mount, say, and all that is below
                raise MachineError(
                    f"{folder} is not there any more; once it is, the same command goes on"
                ) from error
            raise UnreadableImage(f"cannot be read: {error.strerror}") from error

    def fingerprint(self) -> str:
        """Hash the paths, of URLs without signatures, which may be others when it goes on."""
        return _hash(os.fsencode(shown(path)) for path in self.paths)

    def channel_names(self) -> dict[str, Names | None]:
        """Return that they have none."""
        return {self.name(0): None} if self.paths else {}


class Samples:
    """The images of shards."""

    def __init__(self, shards: ShardSet) -> None:
        self.shards, self._reader = shards, ShardReader(shards)

    def __len__(self) -> int:
        return self.shards.num_samples

    def name(self, place: int) -> str:
        """Return the key of a sample."""
        return self._reader.key(*self._locate(place))

    def read(self, place: int) -> bytes:
        """Return the bytes of a sample's image."""
        return self._reader.read(*self._locate(place))

    def fingerprint(self) -> str:
        """Return the fingerprint of the shards."""
        return self.shards.fingerprint()

    def channel_names(self) -> dict[str, Names | None]:
        """Return those beside the tars."""
        return {self.shards.storage.where(0): channel_names_of(self.shards)}

    def _locate(self, place: int) -> tuple[int, int]:
        shard, row = self.shards.locate(np.array([place]))
        return int(shard[0]), int(row[0])


class Joined:
    """Several lists of images, one after the other."""

    def __init__(self, parts: Sequence[Images]) -> None:
        self.parts = parts
        self._starts = np.cumsum([0, *map(len, parts)])  # (parts + 1,)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def name(self, place: int) -> str:
        """Return the name of an image in its part."""
        part, inside = self._locate(place)
        return part.name(inside)

    def read(self, place: int) -> bytes:
        """Return the bytes of an image."""
        part, inside = self._locate(place)
        return part.read(inside)

    def fingerprint(self) -> str:
        """Hash the fingerprints of the parts."""
        return _hash(part.fingerprint().encode() for part in self.parts)

    def channel_names(self) -> dict[str, Names | None]:
        """Return those of all parts."""
        return {where: of for part in self.parts for where, of in part.channel_names().items()}

    def _locate(self, place: int) -> tuple[Images, int]:
        part = int(np.searchsorted(self._starts, place, side="right")) - 1
        return self.parts[part], place - int(self._starts[part])


def open_images(sources: Sequence[str], cache_dir: Path | None = None) -> tuple[Images, list[str]]:
    """Find the images that these words name, in their order, and say what is left out, by line.

    Args:
        sources: Each a file, a folder of images at any depth, or a pattern of these in quotes; a
            folder of tars, a tar, or a pattern of tars; or a URL of an image or of shards.
        cache_dir: As of `open_shards`.

    Raises:
        UserError: If nothing is named, or there is no image at one of these places.
        ShardError or RemoteError: As `open_shards`.
    """
    if not sources:
        raise UserError(
            "no images are named: give files, folders, shards (a folder of tars, a tar, a pattern) "
            "or URLs of these"
        )
    parts: list[Images] = []
    said: list[str] = []
    left_out: LeftOut = {}
    paths: dict[str, None] = {}  # of files in a row; each once
    for source in sources:
        if _are_shards(source):
            parts += [Files(tuple(paths))] if paths else []
            paths = {}
            shards = open_shards(source, cache_dir=cache_dir)
            said += describe(shards.left_out, shown(source))
            parts.append(Samples(shards))
            continue
        for path in _files_of(source, left_out):
            if path in paths:
                leave_out(left_out, AGAIN, shown(path))
            paths[path] = None
    parts += [Files(tuple(paths))] if paths else []
    said += describe(left_out, "these images")
    found = parts[0] if len(parts) == 1 else Joined(parts)
    if not len(found):
        left = "".join(f" ({line})" for line in said)
        raise UserError(
            f"{shown(sources[0])} holds no image{left}; give images, a folder of them or shards"
        )
    return found, said


def _are_shards(source: str) -> bool:
    """Whether a word names shards: tars, or a folder with tars in it."""
    if is_remote(source):
        ending = source.partition("?")[0].rpartition(".")[2].lower()
        return ending not in by_extension()
    if os.path.isdir(source):
        return has_tars(Path(source))
    return source.endswith(_SHARDS)


def _files_of(source: str, left_out: LeftOut) -> Iterator[str]:
    """Yield the image files of a word that names no shards."""
    if is_remote(source) or os.path.isfile(source):
        yield source
    elif os.path.isdir(source):
        yield from _folder(source, left_out)
    else:
        found = [
            match
            for piece in expand_braces(os.path.expanduser(source))
            for match in sorted(glob.glob(piece, recursive=True))
        ]
        if not found:
            raise UserError(
                f"{source}: there is no such image; give files, folders, shards, patterns in "
                "quotes, or URLs"
            )
        for match in found:
            if os.path.isdir(match):
                yield from _folder(match, left_out)
            elif is_image(match):
                yield match
            else:
                leave_out(left_out, NOT_AN_IMAGE, match)


def _folder(folder: str, left_out: LeftOut) -> list[str]:
    """Return the images below a folder, sorted; links are followed, and a folder counts once."""
    if run := run_instead(Path(folder)):
        raise UserError(f"{folder}: {run}; give images, a folder of them or shards")
    found = sorted(name for name, size in walk(Path(folder), left_out) if size is not None)
    if not found:
        tars = next(filter(has_tars, sorted(Path(folder).iterdir())), None)
        remedy = "give another" if tars is None else f"there are shards in {tars}: give that"
        kinds = ", ".join(sorted(by_extension()))
        raise UserError(f"{folder} holds no image ({kinds}); {remedy}")
    return [os.path.join(folder, name) for name in found]


def _fetched(url: str) -> bytes:
    from ssl_swin.data.remote.files import read_small  # late, for speed: only URLs need fsspec

    content = read_small(url, PATIENCE)
    if content is None:
        raise UnreadableImage("nothing is there, or it may not be read")
    return content


def _hash(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part + b"\0")
    return digest.hexdigest()
