import numpy as np
import pytest

from ssl_swin.data.open import open_shards
from tests.data.remote.faulty import cache_in, remote_set, serving
from tests.data.shards.tars import indexed_tars

COUNTS = (3, 0, 5, 4)


@pytest.fixture
def here_and_there(tmp_path):
    """The storage of a local set, and that of the same set through a server and a cache."""
    folder = indexed_tars(tmp_path / "there", COUNTS)
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
