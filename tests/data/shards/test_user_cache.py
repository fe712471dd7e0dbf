"""Users without a home, with one that they may not write to, and files that they may not read."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from ssl_swin.cluster.options import Request
from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.index_file import index_beside
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.data.shards.user_cache import cache_folder, cache_root, make_cache
from ssl_swin.errors import ShardError
from tests.data.shards.tars import samples, write_tar

NOBODY = 54321  # no entry in the list of users


@pytest.fixture
def homeless(monkeypatch):
    """No HOME, and a user id without a name."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: NOBODY)


@contextmanager
def another_user():
    """Become a user who may neither write to root's folders nor read what is not for all."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def place():
    with tempfile.TemporaryDirectory() as root:  # pytest's own folders are closed to others
        Path(root).chmod(0o755)
        yield Path(root)


@pytest.fixture
def folder(place):
    (place / "set").mkdir()
    write_tar(place / "set" / "a.tar", samples(3))
    return place / "set"


@pytest.mark.usefixtures("homeless")
def test_who_has_no_home_needs_none(folder):
    assert cache_root(None) is None
    assert cache_folder(folder, None) is None
    assert open_shards(str(folder)).num_samples == 3
    assert open_shards(str(folder), index_missing=False).num_samples == 3
    assert cache_root(Path("x")) == Path("x")


@pytest.mark.usefixtures("homeless")
def test_who_has_no_home_and_needs_one_is_told_what_to_give():
    with pytest.raises(ShardError, match=r"this user has no home.*data\.cache_dir.*--cache-dir"):
        open_shards("https://127.0.0.1:9/a.tar")


@pytest.mark.parametrize("home", ["/dev/null", "/proc/nowhere"])
def test_a_home_that_is_none_is_refused_only_when_it_is_needed(folder, monkeypatch, home):
    monkeypatch.setenv("HOME", home)
    assert open_shards(str(folder)).num_samples == 3
    with pytest.raises(ShardError, match=rf"^x need the cache.*{home}/\S+ cannot be written to"):
        make_cache("x", None)


def test_a_read_only_folder_and_a_read_only_home_name_the_setting(folder, monkeypatch, place):
    monkeypatch.setenv("HOME", str(place))
    with another_user():
        message = r"indexes of the tars in \S+, which is read-only, need the cache.*data\.cache_dir"
        with pytest.raises(ShardError, match=message):
            open_shards(str(folder))


@pytest.mark.parametrize("manifest", [True, False])
def test_what_another_user_made_unreadable_is_made_again_in_the_cache(
    folder, monkeypatch, place, manifest
):
    open_shards(str(folder))  # by the owner
    index_beside(folder / "a.tar").chmod(0o600)
    if manifest:
        (folder / "index.json").chmod(0o600)
    else:
        (folder / "index.json").unlink()
    cache = place / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    monkeypatch.setenv("HOME", "/dev/null")
    with another_user():
        with pytest.raises(ShardError, match=r"data\.cache_dir"):
            open_shards(str(folder))
        shards = open_shards(str(folder), cache_dir=cache)
        assert [ShardReader(shards).label(0, row) for row in range(3)] == [0, 1, 2]


@pytest.mark.usefixtures("homeless")
def test_submit_needs_no_home():
    words = ["pretrain", "configs/pretrain/demo.yaml", "--time", "1:00:00"]
    assert Request.read(words).stages[0].kind == "pretrain"
