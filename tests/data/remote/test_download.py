from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.indexing import index_shards
from ssl_swin.data.shards.reader import ShardReader
from tests.data.remote.faulty import serving
from tests.data.remote.sets import THIRD, contents, open_at
from tests.data.shards.tars import write_tar


def test_a_broken_download_goes_on_where_it_broke(folder, server, tmp_path):
    big = write_tar(folder / "big.tar", [(f"{place}.png", b"x" * 4 * 10**6) for place in range(4)])
    index_shards([big])
    server.faults["big.tar"] = [("cut", 8 * 10**6), ("cut", 4 * 10**6), None]
    shards = open_at(server, tmp_path, "/big.tar")
    ShardReader(shards).read(0, 0)
    assert server.gets["big.tar"] == 3
    assert server.sent["big.tar"] < shards.bytes[0] + 8 * 10**6  # aiohttp drops what it buffers
    assert shards.storage.paths[0].read_bytes() == big.read_bytes()


def test_a_server_without_ranges_is_read_from_the_start(folder, tmp_path):
    with serving(folder, ranges=False) as server:
        server.faults[THIRD] = [("cut", 1000), None]
        shards = open_at(server, tmp_path)
        assert contents(shards) == contents(open_shards(str(folder)))
        assert server.sent[THIRD] == 1000 + shards.bytes[2]


def test_a_shard_that_is_replaced_while_it_comes_is_not_mixed(folder, server, tmp_path):
    path, num = folder / "big.tar", 8 * 10**6
    new, whole = (
        write_tar(path, [(f"{place}.png", pixel * 4 * 10**6) for place in range(4)]).read_bytes()
        for pixel in (b"n", b"w")
    )
    index_shards([path])
    server.faults["big.tar"] = [("replace", num, new), ("replace", num, whole), None]
    shards = open_at(server, tmp_path, "/big.tar")
    ShardReader(shards).read(0, 3)
    assert server.gets["big.tar"] == 3
    assert shards.storage.paths[0].read_bytes() == whole
