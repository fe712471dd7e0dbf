import os

import numpy as np
import pytest

from ssl_swin.errors import MachineError, ShardError
from ssl_swin.features.store import Store, features_folder

NUM = 600
VALUES = np.random.default_rng(0).standard_normal((NUM, 3)).astype(np.float32)
GOOD = np.arange(NUM) != 5


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path, NUM)


def write(store, *blocks):
    for block in blocks:
        start, stop = store.bounds(block)
        store.write(block, VALUES[start:stop], GOOD[start:stop])


def test_blocks_in_any_order_become_one_array(store, tmp_path):
    assert (store.missing(), store.num_done(), store.is_whole()) == ([0, 1, 2], 0, False)
    write(store, 2, 0)
    assert (store.missing(), store.num_done()) == ([1], 256 + 88)
    write(store, 1)
    assert not store.is_whole()
    killed = tmp_path / ".block-000001.npz.0.partial"
    killed.write_bytes(b"of a process that was killed hours ago")
    os.utime(killed, (0, 0))
    store.assemble({"layer": "last"})
    assert (store.missing(), store.num_done(), store.is_whole()) == ([], NUM, True)
    found = store.open()
    assert np.array_equal(found.values, VALUES)
    assert np.array_equal(found.good, GOOD)
    assert found.num_broken == 1
    assert not found.values.flags.writeable
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"features.npy", "good.npy", "features.json"}


@pytest.mark.parametrize("num", [1, 255, 256, 257, 4096 * 256 + 1])
def test_every_image_is_in_one_block(tmp_path, num):
    store = Store(tmp_path, num)
    bounds = [store.bounds(block) for block in range(store.num_blocks)]
    assert [start for start, _ in bounds] == [0, *(stop for _, stop in bounds[:-1])]
    assert bounds[-1][1] == num
    assert store.num_blocks <= 4096


def test_what_another_command_has_made_whole_is_left_alone(store):
    write(store, 0, 1, 2)
    store.assemble({})
    before = (store.folder / "features.npy").stat().st_mtime_ns
    store.assemble({})
    assert (store.folder / "features.npy").stat().st_mtime_ns == before


def test_an_array_that_is_cut_short_is_one_line(store):
    write(store, 0, 1, 2)
    store.assemble({})
    path = store.folder / "features.npy"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(MachineError, match="is damaged, remove it"):
        store.open()


@pytest.mark.parametrize("kept", [0, 30, 1000, -20])
def test_a_block_that_is_cut_short_is_one_line_and_made_again(store, kept):
    write(store, 0, 1, 2)
    path = store.folder / "block-000001.npz"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(MachineError, match=r"block-000001.npz was damaged and is removed"):
        store.assemble({})
    assert store.missing() == [1]
    write(store, 1)
    store.assemble({})
    assert np.array_equal(store.open().values, VALUES)


def test_the_folder_depends_on_each_word_and_needs_a_cache(tmp_path):
    folders = {features_folder(of, tmp_path) for of in (("a", "b"), ("a", "c"), ("ab", ""))}
    assert len(folders) == 3
    (tmp_path / "file").touch()
    with pytest.raises(ShardError, match="features need the cache"):
        features_folder(("a",), tmp_path / "file")


def test_two_commands_that_make_the_same_do_not_break_each_other(store, monkeypatch):
    write(store, 0, 1, 2)
    read, other = Store._read, Store(store.folder, NUM)

    def late(self, block):
        """Before the last block is read, the other command is done, and writes on."""
        if block == 2 and not other.is_whole():
            monkeypatch.setattr(Store, "_read", read)
            other.assemble({})
        return read(self, block)

    monkeypatch.setattr(Store, "_read", late)
    store.assemble({})
    write(other, 1)
    assert np.array_equal(store.open().values, VALUES)
    assert not list(store.folder.glob("block-*"))


def test_what_another_command_is_writing_is_left_to_it(store):
    write(store, 0, 1, 2)
    young = store.folder / ".features.npy.0.partial"
    young.write_bytes(b"half")
    store.assemble({})
    assert young.exists()


def test_a_block_that_nobody_has_made_whole_is_missed(store):
    write(store, 0, 1)
    with pytest.raises(FileNotFoundError):
        store.assemble({})
