import numpy as np
import pytest

from ssl_swin.data.remote.files import open_ranged, read_small
from ssl_swin.errors import RemoteError, ShardError
from tests.data.remote.faulty import QUICK
from tests.data.remote.sets import THIRD, open_at


@pytest.mark.parametrize("pattern", ["/nothing/", "/val-*.tar", "/train-000001.tar.index.npy"])
def test_a_pattern_without_a_tar_is_refused_in_one_line(server, tmp_path, pattern):
    with pytest.raises(ShardError, match=r"^shards=http\S+ matches no tar; [^\n]*$"):
        open_at(server, tmp_path, pattern)


def test_a_small_file_is_read_in_spite_of_faults_and_may_be_missing(folder, server):
    server.faults[THIRD] = [500, 429, None]
    assert read_small(f"{server.url}/{THIRD}", QUICK) == (folder / THIRD).read_bytes()
    assert read_small(f"{server.url}/other.json", QUICK) is None
    server.faults[THIRD] = [403]
    assert read_small(f"{server.url}/{THIRD}", QUICK) is None


def test_of_a_large_file_little_more_is_fetched_than_is_read(folder, server):
    content = np.random.default_rng(0).bytes(4 * 10**6)
    (folder / "big.bin").write_bytes(content)
    server.faults["big.bin"] = [None, 503, None]
    file, size = open_ranged(f"{server.url}/big.bin", QUICK)
    assert size == len(content)
    with file:
        for place in (3_000_000, 10, size - 5):
            file.seek(place)
            assert file.read(100) == content[place : place + 100]
    assert server.sent["big.bin"] < 0.2 * size
    with pytest.raises(RemoteError, match=r"other\.bin does not exist"):
        open_ranged(f"{server.url}/other.bin", QUICK)
