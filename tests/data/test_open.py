import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssl_swin.data.open import join, open_shards
from ssl_swin.data.shards.index_file import index_beside, load_index
from ssl_swin.data.shards.indexing import index_shard
from ssl_swin.data.shards.left_out import BESIDE, SECOND
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.errors import ShardError
from ssl_swin.shard_tools.index import index
from tests.data.remote.faulty import cache_in, remote_set, serving
from tests.data.shards.tars import indexed_tars, write_tar


@pytest.fixture
def folder(tmp_path):
    return indexed_tars(tmp_path / "there", (3, 0, 5, 4), "{}.tar")


def test_sets_are_laid_end_to_end(folder):
    sets = [open_shards(str(folder / f"{place}.tar")) for place in (2, 0)]
    both = join(sets)
    assert both.counts.tolist() == [5, 3]
    assert ShardReader(both).label(1, 2) == 2
    assert both.fingerprint() != open_shards(f"{folder}/{{2,0}}.tar").fingerprint()
    assert join(sets[:1]) is sets[0]
    with pytest.raises(ShardError, match=r"2\.tar is in two of the sets; leave it in one"):
        join([*sets, sets[0]])


def test_remote_and_local_sets_are_not_mixed(folder, tmp_path):
    with serving(folder) as server:
        there = remote_set(server.url, cache_in(tmp_path))
        with pytest.raises(ShardError, match="some of the sets are remote and some are local"):
            join([there, open_shards(str(folder))])


def test_a_local_set_is_opened_without_what_remote_ones_need(folder):
    program = f"""
import sys
from ssl_swin.data import open
from ssl_swin.data.remote import ahead
open.open_shards({str(folder)!r})
print(sorted({{"fsspec", "aiohttp", "torch"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def dotted(tmp_path, num):
    """Two keys of so many images, each of which was meant to be a sample."""
    members = [(f"{key}.{i}.jpg", b"1") for key in ("cat", "dog") for i in range(num)]
    return str(write_tar(tmp_path / "a.tar", members))


def test_names_with_dots_that_hide_most_images_are_refused_with_the_remedy(tmp_path):
    path = dotted(tmp_path, 10)
    message = r"18 images are in none of the 2 samples, 'cat\.1\.jpg' is one: .*rename them \(cat"
    for _ in range(2):  # at first use, and by the manifest
        with pytest.raises(ShardError, match=message):
            open_shards(path)
    with pytest.raises(ShardError, match=message):
        index(path)


def test_as_many_further_images_as_samples_are_only_told(tmp_path):
    shards = open_shards(dotted(tmp_path, 2))
    assert shards.num_samples == 2
    assert shards.left_out == {SECOND: (2, "cat.1.jpg")}


def test_images_beside_a_plainly_named_one_are_never_too_many(tmp_path):
    members = [(f"x.{kind}", b"1") for kind in ("jpg", "seg.png", "depth.png", "edge.png")]
    write_tar(tmp_path / "a.tar", members)
    assert open_shards(str(tmp_path)).left_out == {BESIDE: (3, "x.seg.png")}


def test_an_old_index_of_such_names_is_read_as_it_was(tmp_path):
    path = Path(dotted(tmp_path, 10))
    index_shard(path)
    np.save(index_beside(path), np.array(load_index(index_beside(path))))  # as release 0.1
    assert open_shards(str(path)).num_samples == 2
