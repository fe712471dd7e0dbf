import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from ssl_swin.data.open import open_shards
from ssl_swin.data.remote.indexes import index_remote
from ssl_swin.data.shards.index_file import index_beside
from ssl_swin.data.shards.indexing import index_shards
from ssl_swin.data.shards.making import INDEX_LOCK
from ssl_swin.data.shards.manifest import MANIFEST_NAME, load_manifest
from ssl_swin.data.shards.one_maker import one_maker
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.errors import RemoteError, ShardError
from ssl_swin.files import sha256_of
from tests.data.remote.faulty import serving
from tests.data.remote.sets import THIRD, add_hashes, open_at
from tests.data.shards.makers import Makers
from tests.data.shards.tars import write_tar


def test_what_lies_there_without_an_index_is_indexed_from_afar(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    big = [(f"x{place}.png", b"%d" % place * 10**6) for place in range(4)]
    write_tar(folder / "a.tar", big)
    with serving(folder) as server:
        server.faults["a.tar"] = [500, None]
        with pytest.raises(ShardError, match=r"1 of 1 shards have no index.*a\.tar; run: ssl-swin"):
            open_at(server, tmp_path, index_missing=False)
        shards = open_at(server, tmp_path)
        assert shards.counts.tolist() == [4]
        assert server.sent["a.tar"] < 0.4 * shards.bytes[0]
        reader = ShardReader(shards, whole=False)
        assert reader.read(0, 3) == b"3" * 10**6
        assert not shards.storage.paths[0].exists()
        assert ShardReader(shards).read(0, 3) == b"3" * 10**6
        gets = server.gets["a.tar"]
        again = open_at(server, tmp_path, index_missing=False)
        assert again.describe() == shards.describe()
        assert server.gets["a.tar"] == gets
    assert sorted(path.name for path in folder.iterdir()) == ["a.tar"]


def test_index_files_without_a_manifest_are_taken(folder, server, tmp_path):
    expected = open_shards(str(folder)).describe()
    (folder / MANIFEST_NAME).unlink()
    assert open_at(server, tmp_path, index_missing=False).describe() == expected
    assert not server.sent[THIRD]


def test_a_missing_or_damaged_remote_shard_is_named(folder, tmp_path):
    (folder / MANIFEST_NAME).unlink()
    for path in folder.glob(f"{THIRD}*"):
        path.unlink()
    with serving(folder) as server:
        with pytest.raises(RemoteError, match=rf"{THIRD} does not exist"):
            open_at(server, tmp_path, "/train-{000000..000003}.tar")
        (folder / THIRD).write_bytes(b"x" * 2048)
        with pytest.raises(ShardError, match=rf"^http://\S+{THIRD} is cut off or damaged"):
            open_at(server, tmp_path, "/train-{000000..000003}.tar")


def test_damaged_remote_manifests_and_indexes_are_refused(folder, server, tmp_path):
    (folder / f"{THIRD}.index.npy").write_bytes((folder / f"{THIRD}.index.npy").read_bytes()[:-48])
    for _ in range(2):
        with pytest.raises(ShardError, match=r"its index and the set's index\.json differ"):
            open_at(server, tmp_path).storage.rows(2)
        shutil.copy(folder / "train-000000.tar.index.npy", folder / f"{THIRD}.index.npy")
    (folder / f"{THIRD}.index.npy").unlink()
    with pytest.raises(ShardError, match=rf"{THIRD} has no index; run: ssl-swin shards index http"):
        open_at(server, tmp_path).storage.rows(2)
    (folder / f"{THIRD}.index.npy").write_bytes(b"nothing")
    (folder / MANIFEST_NAME).write_text("{")
    with pytest.raises(ShardError, match=r"^http\S+index\.json is not a manifest"):
        open_at(server, tmp_path)
    (folder / MANIFEST_NAME).unlink()
    with pytest.raises(ShardError, match=r"^http\S+index\.npy is damaged"):
        open_at(server, tmp_path)


@pytest.mark.parametrize("ask", [open_shards, partial(index_remote, num_workers=1)])
def test_urls_that_differ_only_in_their_query_are_refused(server, tmp_path, ask):
    pattern = f"{server.url}/train-00000{{0..2}}.tar?version={{1,2secret}}"
    message = rf"the shards 1 and 2 that {server.url}\S+ names are both "
    with pytest.raises(ShardError, match=message) as error:
        ask(pattern, cache_dir=tmp_path)
    assert f"both {server.url}/train-000000.tar, " in str(error.value)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_hashes_are_in_the_manifest_and_are_made_anew_with_the_index(folder):
    add_hashes(folder)
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    assert [len(entry) for entry in manifest["shards"].values()] == [3] * 4
    before = open_shards(str(folder)).describe()
    known = load_manifest(folder)
    with (folder / THIRD).open("r+b") as file:  # another payload of the same size
        file.seek(512)
        file.write(b"other")
    index_shards([folder / THIRD])
    again = load_manifest(folder)
    assert again[THIRD].sha256 == sha256_of(folder / THIRD) != known[THIRD].sha256
    assert again | {THIRD: known[THIRD]} == known
    assert open_shards(str(folder)).describe() == before


def test_of_four_processes_one_reads_remote_headers_and_fetches_indexes_once(folder, tmp_path):
    expected = open_shards(str(folder)).fingerprint()
    for path in (folder / MANIFEST_NAME, *folder.glob("*.npy")):
        path.unlink()
    with serving(folder) as server:
        makers = Makers(folder, 4, tmp_path / "log", tmp_path / "cache", f"{server.url}/")
        found = makers.all_together()
        assert sorted(makers.scanned()) == [
            f"{server.url}/train-00000{num}.tar" for num in range(4)
        ]
    assert found == [found[0]] * 4
    assert found[0][0] == expected
    assert len(list((tmp_path / "cache" / "shards").glob("*/*.npy"))) == 4
    assert not list((tmp_path / "cache").rglob(".index.lock"))


def test_of_four_processes_one_fetches_the_index_of_a_shard(folder, tmp_path):
    with serving(folder) as server:
        makers = Makers(folder, 4, tmp_path / "log", tmp_path / "cache", f"{server.url}/")
        found = makers.all_together()
        assert found == [found[0]] * 4
        assert server.gets["train-000000.tar.index.npy"] == 1


def test_what_another_process_fetched_meanwhile_is_not_fetched_again(folder, server, tmp_path):
    (folder / MANIFEST_NAME).unlink()
    paths = open_at(server, tmp_path).storage.paths
    contents = {path: path.read_bytes() for path in map(index_beside, paths)}
    gets = dict(server.gets)
    with ThreadPoolExecutor(1) as pool:
        with one_maker(paths[0].parent / INDEX_LOCK, str):
            waiting = pool.submit(open_at, server, tmp_path)
            while server.gets[MANIFEST_NAME] == gets[MANIFEST_NAME]:
                time.sleep(0.01)
            for path, content in contents.items():
                path.write_bytes(content)
                os.utime(path, (time.time(), time.time()))
        assert waiting.result(60).num_samples == 12
    assert all(server.gets[path.name] == gets[path.name] for path in contents)


def test_an_index_that_others_may_have_mapped_is_not_replaced_by_the_same(folder, server, tmp_path):
    (folder / MANIFEST_NAME).unlink()
    shards = open_at(server, tmp_path)
    before = [os.stat(f"{path}.index.npy").st_ino for path in shards.storage.paths]
    open_at(server, tmp_path)
    assert [os.stat(f"{path}.index.npy").st_ino for path in shards.storage.paths] == before
