"""Keys of samples, as fast as they can be read."""

import numpy as np
import pytest

from ssl_swin.data.labelling.keys import HashTable, hashes_of, hashes_of_set, keys_of
from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.reader import ShardReader
from tests.data.shards.tars import FORMATS, write_tar

LONG = ["x" * 99 + ".png", "y" * 150 + "/z.png", "e/" * 90 + "f.png"]
NAMES = ["a.png", "dir/b.c.png", "Ünï/é.png", *LONG]


@pytest.mark.parametrize("format", [*FORMATS])
def test_they_are_those_of_the_reader(tmp_path, format):
    names = [name for name in NAMES if format != "ustar" or name not in LONG[:2]]
    write_tar(tmp_path / "a.tar", [(name, b"image") for name in names], format)
    shards = open_shards(tmp_path)
    reader = ShardReader(shards)
    keys = list(keys_of(shards, 0))
    assert keys == [reader.key(0, row) for row in range(len(names))]
    assert (hashes_of_set(shards) == hashes_of(keys)).all()


def test_a_row_is_found_by_its_key():
    keys = [f"k{place}" for place in range(1000)]
    table = HashTable(hashes_of(keys))
    order = np.random.default_rng(0).permutation(1000)
    assert (table.find(hashes_of(keys[place] for place in order)) == order).all()
    assert table.find(hashes_of(["", "k1000"])).tolist() == [-1, -1]
    assert HashTable(hashes_of([])).find(hashes_of(["a"])).tolist() == [-1]


def test_the_first_key_that_is_there_twice_is_found():
    assert HashTable(hashes_of(["a", "b", "c"])).twice() is None
    assert HashTable(hashes_of(["a", "b", "c", "b", "a", "b"])).twice() == (1, 3)
