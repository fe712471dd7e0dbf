"""A checkpoint on the disk: written whole or not at all, and nothing in it is executed."""

import errno
import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ssl_swin.errors import UserError
from ssl_swin.files import replacing

FORMAT = 1

State = dict[str, Any]

# What zipfile and torch.load raise for a file that is no checkpoint or is damaged.
_NO_ZIP = (EOFError, struct.error, zipfile.BadZipFile, zlib.error)
_BROKEN = (LookupError, OverflowError, RuntimeError, ValueError, pickle.UnpicklingError, *_NO_ZIP)
# System errors that are the file's fault: it is not there, or holds an offset that makes no sense.
_WRONG_FILE = (errno.ENOENT, errno.EISDIR, errno.EINVAL, errno.EOVERFLOW, None)


class DamagedCheckpoint(UserError):
    """A checkpoint that cannot be read, or is not as it was written."""


def write_checkpoint(path: Path, state: State, ready: Callable[[], None] | None = None) -> None:
    """Write a checkpoint; see `replacing` for `ready` and what becomes of the old file."""
    with replacing(path, ready) as file:
        torch.save(state, file)


def read_checkpoint(path: Path, facts_only: bool = False) -> State:
    """Read a checkpoint, and check each byte of it; nothing in it is executed.

    With `facts_only`, for what it says of its run, no byte of a tensor is read or checked.

    Raises:
        DamagedCheckpoint: If it is not there, or a byte is not what was written.
        UserError: If it is of another format.
        OSError: If the storage fails; it may work later.
        MemoryError: If there is no room for it.
    """
    cannot = f"{path} cannot be read as a checkpoint"
    try:
        if facts_only:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        else:
            with path.open("rb", buffering=0) as raw, _Checked(raw) as file:
                state = torch.load(file, map_location="cpu", weights_only=True)
                file.check_the_rest()
    except OSError as error:
        if error.errno not in _WRONG_FILE:
            error.filename = error.filename or str(path)
            raise
        raise DamagedCheckpoint(f"{cannot}: {error.strerror or error}") from error
    except _BROKEN as error:
        if "allocate memory" in str(error):  # torch raises a RuntimeError
            raise MemoryError(f"no memory to read {path} into") from error
        damage = f"{cannot}: it is damaged, or is not of this program"
        raise DamagedCheckpoint(damage) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(
            f"{path} is not a checkpoint of a run of this program (format {FORMAT}); to start from "
            "somebody's weights, fine-tune with `encoder`"
        )
    return state


class _Checked(io.BufferedReader):
    """A checkpoint whose tensors are held against their check sums while torch reads them.

    torch writes check sums and never looks at them; it reads each tensor in one piece. What goes
    wrong is raised where the `with` ends, since torch hides what a file raises.
    """

    def __init__(self, file: io.FileIO) -> None:
        super().__init__(file)
        self._fault: Exception | None = None
        self._table = zipfile.ZipFile(self)
        self._tensors: dict[int, zipfile.ZipInfo] = {}  # not read yet, by the place of their bytes
        for record in self._table.infolist():
            if "/data/" in record.filename:
                self._tensors[self._place(record)] = record
            else:
                self._table.read(record)  # raises if it is damaged; torch reads it after this
        self.seek(0)

    def __exit__(self, *_: Any) -> None:
        if self._fault is not None:
            raise self._fault

    def readinto(self, buffer: Any) -> int:
        """Read; of a whole tensor check the sum."""
        place = self.tell()
        try:
            count = super().readinto(buffer)
        except OSError as error:
            self._fault = error
            raise
        record = self._tensors.get(place)
        if record is not None and record.file_size == count == len(buffer):
            del self._tensors[place]
            if zlib.crc32(buffer) != record.CRC:
                self._fault = zipfile.BadZipFile(f"{record.filename} is damaged")
        return count

    def check_the_rest(self) -> None:
        """Read what torch has not read, or not in one piece; raise if it is damaged."""
        for record in self._tensors.values():
            with self._table.open(record) as file:
                while file.read(1 << 20):
                    pass

    def _place(self, record: zipfile.ZipInfo) -> int:
        self.seek(record.header_offset + 26)
        name_length, extra_length = struct.unpack("<HH", self.read(4))
        return record.header_offset + 30 + name_length + extra_length
