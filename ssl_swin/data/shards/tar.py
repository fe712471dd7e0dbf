"""Reads a tar's headers, whatever stands in them: what they claim is never taken into memory."""

import tarfile
from typing import BinaryIO

DAMAGED = (tarfile.TarError, EOFError, ValueError, OverflowError, IndexError, RecursionError)
"""What tarfile raises over headers that are not what they say."""

_MAX_HEADER_BYTES = 2**16  # of a long name, or of pax records; real ones have a few hundred


def open_headers(file: BinaryIO) -> tarfile.TarFile:
    """Open a tar to go through its headers with `next`, from where the file stands.

    Args:
        file: The tar.

    Returns:
        A tar of which no payload can be read; its `next` raises what is in `DAMAGED`.

    Raises:
        tarfile.TarError: Or another of `DAMAGED`, if the first header is damaged.
    """
    return tarfile.open(fileobj=_Bounded(file), mode="r:")  # type: ignore[call-overload]


class _Bounded:
    """A file of which tarfile reads blocks and extended headers, of a size that is one's."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self._file = file.seek, file.tell, file

    def read(self, num_bytes: int) -> bytes:
        if not 0 <= num_bytes <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {num_bytes} bytes before byte {self.tell()}")
        return self._file.read(num_bytes)
