"""Fixtures of this folder: a set, a server, a disk that is soon full."""

import errno
import io
import os
from contextlib import suppress

import pytest

from tests.data.remote.faulty import serving
from tests.data.shards.tars import indexed_tars


@pytest.fixture
def folder(tmp_path):
    return indexed_tars(tmp_path / "there", (3, 0, 5, 4))


@pytest.fixture
def server(folder):
    with serving(folder) as server:
        yield server


@pytest.fixture
def size(folder):
    (size,) = {path.stat().st_size for path in folder.glob("*.tar")}
    return size


@pytest.fixture
def small_disk(monkeypatch, tmp_path):
    """A disk that is full when the cache holds more than it has room for: no byte, no new file."""
    pwrite, os_open, io_open = os.pwrite, os.open, io.open
    room = {"bytes": 0}

    def need(num_bytes):
        used = 0
        for path in tmp_path.glob("shards/*/*"):
            if path.name.endswith((".tar", ".tar.partial")):
                with suppress(FileNotFoundError):  # another thread has just evicted it
                    used += path.lstat().st_size
        if room["bytes"] - used < num_bytes:
            raise OSError(errno.ENOSPC, "No space left on device")

    def need_file(path):
        if room["bytes"] and str(path).startswith(f"{tmp_path}/shards/") and not path.exists():
            need(1)

    def small_pwrite(file, data, offset):
        need(len(data))
        return pwrite(file, data, offset)

    def small_os_open(path, flags, *rest, **options):
        if flags & os.O_CREAT:
            need_file(path)
        return os_open(path, flags, *rest, **options)

    def small_io_open(path, mode="r", *rest, **options):
        if "w" in mode:
            need_file(path)
        return io_open(path, mode, *rest, **options)

    monkeypatch.setattr(os, "pwrite", small_pwrite)
    monkeypatch.setattr(os, "open", small_os_open)
    monkeypatch.setattr(io, "open", small_io_open)
    return room
