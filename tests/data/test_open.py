import subprocess
import sys

import numpy as np
import pytest

from ssl_swin.data.open import join, open_shards
from ssl_swin.data.shards.indexing import index_shards
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.errors import ShardError
from tests.data.remote.faulty import cache_in, remote_set, serving
from tests.data.shards.tars import samples, write_tar

COUNTS = (3, 0, 5, 4)


@pytest.fixture
def folder(tmp_path):
    folder, first = tmp_path / "there", 0
    folder.mkdir()
    for place, count in enumerate(COUNTS):
        write_tar(folder / f"{place}.tar", samples(count, first))
        first += count
    index_shards(sorted(folder.glob("*.tar")))
    return folder


@pytest.fixture
def here_and_there(folder, tmp_path):
    """The storage of a local set, and that of the same set through a server and a cache."""
    with serving(folder) as server:
        there = remote_set(server.url, cache_in(tmp_path))
        yield open_shards(str(folder)).storage, there.storage


def test_both_kinds_of_storage_have_the_same_rows_and_bytes(here_and_there):
    here, there = here_and_there
    assert here.entries == there.entries
    assert [path.name for path in here.paths] == [path.name for path in there.paths]
    for shard in np.random.default_rng(0).permutation(len(COUNTS)).tolist():
        rows = here.rows(shard)
        assert len(rows) == COUNTS[shard]
        assert np.array_equal(rows, there.rows(shard))
        for row in rows:
            place = shard, int(row["offset"]), int(row["size"])
            assert here.read(*place) == there.read(*place)
            assert here.read_piece(*place) == there.read_piece(*place) == here.read(*place)
        end = here.entries[shard].num_bytes - 10
        for storage in here_and_there:  # fewer bytes come only from the end
            for read in (storage.read, storage.read_piece):
                assert len(read(shard, end, 100)) == 10
                assert read(shard, end + 10, 100) == b""


def test_both_kinds_of_storage_do_the_same_with_sets(here_and_there):
    for storage in here_and_there:
        twice = storage.join([storage])
        assert (twice.paths, twice.entries) == (2 * storage.paths, 2 * storage.entries)
        assert np.array_equal(twice.rows(6), storage.rows(2))
        impatient = storage.impatient()
        assert impatient is not storage
        assert impatient.read(2, 0, 512) == storage.read(2, 0, 512)
        assert storage.bring(5) >= 3
        ahead = storage.fetch_ahead(lambda _: ([0, 2], 10))
        ahead.reached(0)
        ahead.close()
        storage.close()
        assert storage.read(3, 0, 5) == b"s0008"
    here, there = here_and_there
    assert (here.bring(5), there.bring(5)) == (4, 3)
    assert (here.cached_bytes(lambda: 7), there.cached_bytes(lambda: 7)) == (0, 7)
    assert here.cache_line(7) is None
    assert "at least 7e-09 GB of cache" in there.cache_line(7)


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
