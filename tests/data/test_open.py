import subprocess
import sys

import pytest

from ssl_swin.data.open import join, open_shards
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.errors import ShardError
from tests.data.remote.faulty import cache_in, remote_set, serving
from tests.data.shards.tars import indexed_tars


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
