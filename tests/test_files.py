import errno
import os
import stat
from contextlib import nullcontext

import pytest

from ssl_swin.errors import MachineError
from ssl_swin.files import new_folder, replacing


def test_a_file_appears_whole_in_folders_made_for_it(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    with replacing(path) as file:
        file.write(b"first half, ")
        assert not path.exists()
        file.write(b"second half")
    assert path.read_bytes() == b"first half, second half"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path, old):
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write(b"half" * (1 // 0))
    assert sorted(os.listdir(tmp_path)) == before
    assert old is None or path.read_bytes() == old


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_a_file_system_need_not_sync_folders(tmp_path, monkeypatch, number):
    sync = os.fsync

    def sync_files(file):
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(number, os.strerror(number))
        sync(file)

    monkeypatch.setattr(os, "fsync", sync_files)
    ends = nullcontext() if number == errno.EINVAL else pytest.raises(OSError, match="Input")
    with ends, replacing(tmp_path / "file") as file:
        file.write(b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_file_that_is_being_read_stays_as_it_was(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        with replacing(path) as file:
            file.write(b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"


def test_rights_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    with replacing(tmp_path / "file"):
        pass
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_new_folder_is_whole_or_not_there(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "a/b", tmp_path / "empty"):
        with new_folder(path) as making:
            (making / "file").write_bytes(b"whole")
            assert not (path / "file").exists()
        assert (path / "file").read_bytes() == b"whole"
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "c") as making:
        (making / "file").write_bytes(b"half" * (1 // 0))
    assert sorted(os.listdir(tmp_path)) == ["a", "empty"]


def test_a_new_folder_takes_nothings_place(tmp_path):
    def fill(folder):
        with new_folder(folder):
            folder.mkdir()
            (folder / "file").write_bytes(b"old")

    with pytest.raises(OSError, match="not empty"):
        fill(tmp_path / "a")
    assert (tmp_path / "a/file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_new_folder_without_room_is_the_machines(tmp_path):
    with pytest.raises(MachineError, match="make room"), new_folder(tmp_path / "a"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert os.listdir(tmp_path) == []
