"""A checkpoint on the disk: written whole or not at all, and nothing in it is executed."""

import errno
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
        with zipfile.ZipFile(path) as file:  # torch writes checksums and never checks them
            damaged = None if facts_only else file.testzip()
        how: dict[str, Any] = {"map_location": "cpu", "weights_only": True, "mmap": facts_only}
        state = None if damaged else torch.load(path, **how)
    except OSError as error:
        if error.errno not in _WRONG_FILE:
            raise
        raise DamagedCheckpoint(f"{cannot}: {error.strerror or error}") from error
    except _BROKEN as error:
        if "allocate memory" in str(error):  # torch raises a RuntimeError
            raise MemoryError(f"no memory to read {path} into") from error
        damage = f"{cannot}: it is damaged, or is not of this program"
        raise DamagedCheckpoint(damage) from error
    if damaged:
        raise DamagedCheckpoint(f"{cannot}: it is damaged, in {damaged}")
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(
            f"{path} is not a checkpoint of a run of this program (format {FORMAT}); to start from "
            "somebody's weights, fine-tune with `encoder`"
        )
    return state
