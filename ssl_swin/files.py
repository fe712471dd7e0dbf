"""Files written whole or not at all (temporary name, sync, rename); their names, their sums.

Standard library only.
"""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ssl_swin.machine import full

_NO_FOLDERS = (errno.EINVAL, errno.ENOTSUP)  # of file systems that sync files, and no folders


@contextmanager
def replacing(path: Path, ready: Callable[[], None] | None = None) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` when the block ends, and never if it fails.

    The old file stays until the new one is on the disk. If two processes write the same file at
    once, the file is whole, and is the one of the process that finished last. `ready` is called
    when the new file is on the disk, right before it takes the old one's place; if it raises, the
    old one stays.

    Raises:
        MachineError: If there is no room for it, whatever a library made of that.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if ready is not None:
            ready()
        unfinished.replace(path)
    except (OSError, RuntimeError) as error:  # torch raises a RuntimeError
        if (no_room := full(path, error)) is not None:
            raise no_room from error
        raise
    finally:
        unfinished.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself
    except OSError as error:
        if error.errno not in _NO_FOLDERS:
            raise
    finally:
        os.close(folder)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Make a folder whole or not at all: yield another one, which takes its name at the end.

    What is at `path` may be an empty folder, and nothing else. If the block fails, nothing is left.

    Raises:
        MachineError: If there is no room for it.
        OSError: If something has come to `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    unfinished.mkdir()
    try:
        yield unfinished
        for file in unfinished.iterdir():
            with file.open("rb") as written:
                os.fsync(written.fileno())
        unfinished.replace(path)
    except OSError as error:
        if (no_room := full(path, error)) is not None:
            raise no_room from error
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Let an error of the storage say which file it is of; one of a read does not by itself."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def sha256_of(path: Path) -> str:
    """Hash a whole file; hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
