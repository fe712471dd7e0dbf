import errno
import fcntl
import os
import threading

import pytest

from ssl_swin.data.shards import one_maker as module
from ssl_swin.data.shards.one_maker import one_maker, place_first


def nothing():
    return "0 of 3"


@pytest.fixture
def held(tmp_path):
    """A lock that somebody else holds."""
    path = tmp_path / "lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield path, file


def test_one_at_a_time_makes_it_and_nothing_is_left(tmp_path):
    inside, most = [], []

    def make():
        with one_maker(tmp_path / "a" / "lock", nothing) as alone:
            assert alone
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8
    assert list((tmp_path / "a").iterdir()) == []


def test_the_lock_goes_when_the_block_fails(tmp_path):
    with pytest.raises(KeyError), one_maker(tmp_path / "lock", nothing):
        raise KeyError
    with one_maker(tmp_path / "lock", nothing, patience_s=0) as alone:
        assert alone


def test_a_lock_file_that_a_dead_process_left_keeps_nobody_out(tmp_path):
    (tmp_path / "lock").touch()
    with one_maker(tmp_path / "lock", nothing) as alone:
        assert alone


def test_nobody_waits_for_ever_and_it_is_told(held, capsys, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.delenv("SLURM_LOCALID", raising=False)
    with one_maker(held[0], nothing, patience_s=0.05) as alone:
        assert not alone
    assert held[0].exists()
    told = capsys.readouterr().err
    assert f"waiting for the process that holds {held[0]}: 0 of 3\n" in told
    assert "no progress for 0 s: this process goes on beside it" in told


def test_of_a_machine_one_process_tells(held, capsys, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    with one_maker(held[0], nothing, patience_s=0.05):
        assert not capsys.readouterr().err


def test_as_long_as_there_is_progress_it_is_waited_for(held):
    looks = []

    def progress():
        looks.append(1)
        if len(looks) == 3:
            fcntl.flock(held[1], fcntl.LOCK_UN)
        return str(len(looks))

    with one_maker(held[0], progress, patience_s=0.01) as alone:
        assert alone
    assert len(looks) >= 3


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_nobody_is_kept_out(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module.fcntl, "flock", refuse)
    with one_maker(tmp_path / "lock", nothing) as alone:
        assert not alone


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with one_maker(tmp_path / "lock", nothing) as alone:
        assert not alone
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("links", [True, False])
def test_the_first_file_of_a_name_stays(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError()))
    for content in ("first", "second"):
        (tmp_path / "new").write_text(content)
        place_first(tmp_path / "new", tmp_path / "file")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file": "first"}
