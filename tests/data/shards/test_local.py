import errno
import os

import pytest

from ssl_swin.data.shards.local import PATIENCE, LocalFiles
from ssl_swin.data.shards.retry import Retry


@pytest.fixture
def stumbling(monkeypatch):
    """Errors that the next calls of `os.pread` and `os.open` end with, and the files opened."""
    errors, opened = {"pread": [], "open": []}, []

    def failing(name):
        really = getattr(os, name)

        def call(*args, **options):
            if name == "open":
                opened.append(args[0])
            if errors[name]:
                raise OSError(errors[name].pop(0), "storage")
            return really(*args, **options)

        monkeypatch.setattr(os, name, call)

    failing("pread")
    failing("open")
    return errors, opened


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(100)))
    return path


def patient(waits):
    return LocalFiles(2, Retry(4, 0.5, 1.0, sleep=waits.append))


@pytest.mark.parametrize("how", ["pread", "open"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_a_read_that_fails_is_tried_again_on_a_file_opened_anew(path, stumbling, how, error):
    (errors, opened), waits = stumbling, []
    errors[how] += [error, error]
    files = patient(waits)
    assert files.read(path, 10, 5) == bytes(range(10, 15))
    assert waits == [0.5, 1.0]
    assert opened == [path] * 3
    assert files.read(path, 0, 1) == b"\0"
    assert len(opened) == 3
    files.close()


def test_storage_that_keeps_failing_is_an_error_that_names_the_file(path, stumbling):
    (errors, _), waits = stumbling, []
    errors["pread"] += [errno.EIO] * 9
    with pytest.raises(OSError, match="storage") as error:
        patient(waits).read(path, 0, 1)
    assert (error.value.errno, error.value.filename) == (errno.EIO, str(path))
    assert waits == [0.5, 1.0, 1.0]


def test_what_does_not_pass_is_told_at_once(path, tmp_path, stumbling):
    (errors, _), waits = stumbling, []
    with pytest.raises(FileNotFoundError):
        patient(waits).read(tmp_path / "nothing", 0, 1)
    errors["pread"] += [errno.EACCES]
    with pytest.raises(PermissionError):
        patient(waits).read(path, 0, 1)
    assert not waits


def test_fewer_bytes_come_only_from_the_end(path):
    files = LocalFiles(1)
    assert files.read(path, 98, 10) == b"bc"
    assert files.read(path, 100, 10) == b""
    files.close()
    assert sum(min(4.0, 0.5 * 2**n) for n in range(PATIENCE.num_tries - 1)) < 10
