"""Local files read by offset, few of them open at once. Standard library only.

Shared storage stumbles: a read that fails for a reason that may pass is tried again, on a file that
is opened anew.
"""

import errno
import os
from collections import OrderedDict
from itertools import count
from pathlib import Path
from typing import Any

from ssl_swin.data.shards.retry import Retry

_PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT)
PATIENCE = Retry(num_tries=5, first_wait_s=0.5, longest_wait_s=4.0)


class LocalFiles:
    """Files that are read by offset; may be pickled, and used after a fork.

    Args:
        max_open: Files kept open at once.
        retry: How patiently to read.
    """

    def __init__(self, max_open: int, retry: Retry = PATIENCE) -> None:
        self.max_open, self.retry = max_open, retry
        self._files: OrderedDict[Path, int] = OrderedDict()
        self._pid = os.getpid()

    def read(self, path: Path, offset: int, size: int) -> bytes:
        """Read bytes; fewer only where the file ends.

        Raises:
            OSError: If the storage fails, a few times if that may pass.
        """
        for failed in count(1):
            try:
                return read_at(self._open(path), offset, size)
            except OSError as error:
                if error.errno not in _PASSING or failed >= self.retry.num_tries:
                    error.filename = str(path)
                    raise
                self._forget(path)
                self.retry.wait(failed)
        raise AssertionError  # count has no end

    def close(self) -> None:
        """Close every file; they are opened again when they are read again."""
        while self._files:
            os.close(self._files.popitem()[1])

    def _open(self, path: Path) -> int:
        if self._pid != os.getpid():
            self.close()  # this process's copies; the parent's stay open
            self._pid = os.getpid()
        file = self._files.pop(path, None)
        if file is None:
            while len(self._files) >= self.max_open:
                os.close(self._files.popitem(last=False)[1])
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._files[path] = file
        return file

    def _forget(self, path: Path) -> None:
        file = self._files.pop(path, None)
        if file is not None:
            os.close(file)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": OrderedDict(), "_pid": -1}

    def __del__(self) -> None:
        if getattr(self, "_files", None):
            self.close()


def read_at(file: int, offset: int, size: int) -> bytes:
    """Read bytes of an open file; fewer only where it ends."""
    parts: list[bytes] = []
    while size and (part := os.pread(file, size, offset)):
        parts.append(part)
        offset, size = offset + len(part), size - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
