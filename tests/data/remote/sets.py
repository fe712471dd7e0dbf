"""What the tests of this folder do with sets and caches."""

import os
import warnings

import numpy as np

from ssl_swin.data.remote.incoming import RemoteTar
from ssl_swin.data.shards.manifest import Entry, load_manifest, write_manifest
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.files import sha256_of
from tests.data.remote.faulty import cache_in, remote_set
from tests.data.shards.tars import samples, write_tar

THIRD = "train-000002.tar"


def add_hashes(folder):
    """What `shards create` writes."""
    entries = load_manifest(folder)
    hashes = {name: sha256_of(folder / name) for name in entries}
    write_manifest(folder, {name: Entry(*entries[name][:2], hashes[name]) for name in entries})


def contents(shards, **options):
    """Bytes, label and key of every sample."""
    reader = ShardReader(shards, **options)
    places = zip(*shards.locate(np.arange(shards.num_samples)), strict=True)
    return [(reader.read(s, r), reader.label(s, r), reader.key(s, r)) for s, r in places]


def open_at(server, tmp_path, pattern="/", **options):
    return remote_set(server.url + pattern, cache_in(tmp_path / "cache"), **options)


def other_tar(tmp_path, num):
    return write_tar(tmp_path / "other.tar", samples(num, first=100)).read_bytes()


def hold(shards, shard, wait=True):
    return shards.storage.hold(shard, wait)


def disk_use(cache):
    """Bytes of all tars on the disk, whole or not."""
    with cache.room.locked():  # else a file may be counted that makes room for the next
        paths = cache.room.root.glob("*/*")
        ends = (".tar", ".tar.partial")
        return sum(path.lstat().st_size for path in paths if path.name.endswith(ends))


def remote_tar(server, tmp_path, size, name="0.tar"):
    return RemoteTar(f"{server.url}/{name}", tmp_path / "shards" / "x" / name, size, lambda _: None)


def forked(child):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of threads when they fork
        pid = os.fork()
    if not pid:
        try:
            child()
        finally:
            os._exit(0)
    return pid
