import json
import os
import tarfile

import pytest

from ssl_swin.data.batches.labels import Labels
from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.indexing import index_shard, index_shards
from ssl_swin.data.shards.left_out import (
    APART,
    BESIDE,
    HIDDEN,
    NO_EXTENSION,
    NO_IMAGE,
    ODD_LABEL,
    SECOND,
)
from ssl_swin.data.shards.manifest import MANIFEST_NAME
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.errors import ShardError, UserError
from tests.data.shards.tars import image_bytes, samples, write_tar


@pytest.mark.parametrize(
    ("extensions", "chosen"),
    [
        (["seg.png", "png"], "png"),
        (["png", "jpg"], "png"),
        (["txt", "seg.png", "depth.tif"], "seg.png"),
        (["png.txt", "webp"], "webp"),
    ],
)
def test_the_image_is_the_member_with_just_an_image_extension(tmp_path, extensions, chosen):
    path = write_tar(tmp_path / "a.tar", [(f"x.{name}", name.encode()) for name in extensions])
    reader = ShardReader(open_shards(str(path)))
    assert reader.shards.num_samples == 1
    assert (reader.key(0, 0), reader.read(0, 0)) == ("x", chosen.encode())


def test_payloads_are_not_read(tmp_path):
    path, size = tmp_path / "a.tar", 20 * 2**30
    info = tarfile.TarInfo("big.png")
    info.size = size
    with path.open("wb") as file:  # 20 GiB on paper, a hole on disk
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + size + 1024)
    assert index_shard(path).num_samples == 1
    assert open_shards(str(path)).storage.rows(0)["size"].tolist() == [size]


def test_an_empty_tar_has_no_samples(tmp_path):
    write_tar(tmp_path / "a.tar", [])
    assert open_shards(str(tmp_path)).num_samples == 0


def test_one_damaged_shard_does_not_keep_the_others_from_their_index(tmp_path):
    paths = [write_tar(tmp_path / f"{place}.tar", samples(place)) for place in range(6)]
    for path in paths[2:4]:
        path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ShardError, match=r"2\.tar is cut off .*\(1 more shards are damaged\)"):
        index_shards(paths, num_workers=3)
    manifest = json.loads((tmp_path / MANIFEST_NAME).read_text())
    good = [0, 1, 4, 5]
    expected = {f"{place}.tar": [place, paths[place].stat().st_size] for place in good}
    assert manifest == {"format": 1, "shards": expected, "left_out": {}}


def test_indexing_again_writes_the_same_bytes_and_leaves_nothing_else(tmp_path):
    path = write_tar(tmp_path / "a.tar", samples(5))
    index_shards([path])
    first = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    index_shards([path])
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == first
    assert sorted(first) == ["a.tar", "a.tar.index.npy", "a.tar.labels", "index.json"]


def test_no_workers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="num_workers=0"):
        index_shards([write_tar(tmp_path / "a.tar", samples(1))], num_workers=0)


def left_out_of(tmp_path, members):
    return index_shard(write_tar(tmp_path / "a.tar", members)).left_out


def test_what_is_in_no_sample_is_counted_by_its_reason(tmp_path):
    members = [
        *samples(2),
        (".hidden.png", b""),
        ("@eaDir/x.png", b""),
        ("__MACOSX/a/._x.png", b""),
        ("__meta__/x.png", b""),
        ("noise", b""),
        ("a.txt", b""),
        ("b.json", b"{}"),
    ]
    assert left_out_of(tmp_path, members) == {
        HIDDEN: (4, ".hidden.png"),
        NO_EXTENSION: (1, "noise"),
        NO_IMAGE: (2, "a.txt"),
    }


@pytest.mark.parametrize(
    ("extensions", "counted"),
    [
        (["png", "seg.png", "depth.tif"], {BESIDE: (2, "x.seg.png")}),
        (["seg.png", "png"], {BESIDE: (1, "x.seg.png")}),
        (["left.png", "right.png"], {SECOND: (1, "x.right.png")}),
        (["png", "jpg", "txt"], {SECOND: (1, "x.jpg")}),
        (["0.jpg", "1.jpg", "2.jpg"], {SECOND: (2, "x.1.jpg")}),
        (["png", "cls", "txt"], {}),
    ],
)
def test_every_image_of_a_key_but_one_is_counted(tmp_path, extensions, counted):
    assert left_out_of(tmp_path, [(f"x.{name}", b"1") for name in extensions]) == counted


@pytest.mark.parametrize("labels_first", [False, True])
def test_labels_apart_from_their_images_are_told(tmp_path, labels_first):
    images, labels = ([m for m in samples(5) if m[0].endswith(e)] for e in ("png", "cls"))
    members = [*labels, *images] if labels_first else [*images, *labels]
    found = left_out_of(tmp_path, [*members, ("s0000.txt", b""), ("t.cls", b"1")])
    assert found == {APART: (5, "s0000.cls"), NO_IMAGE: (2, "s0000.txt")}
    assert "tar --sort=name" in APART


def test_a_label_that_is_called_otherwise_than_its_key_is_told(tmp_path):
    members = [("x.input.png", image_bytes(0)), ("x.target.cls", b"1")]
    members += [("y.png", image_bytes(1)), ("y.cls", b"0"), ("y.more.cls", b"2")]
    found = index_shard(write_tar(tmp_path / "a.tar", members))
    assert found.num_samples == 2
    assert found.left_out == {ODD_LABEL: (1, "x.target.cls")}
    shards = open_shards(str(tmp_path))
    with pytest.raises(UserError, match=r"1 labels with a word between .*x\.target"):
        Labels(2).check(shards, "training")


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["npy"], "npy"),
        (["output.npy", "input.npy"], "input.npy"),
        (["input.npy", "npy"], "npy"),
        (["img.npz", "seg.npy"], "img.npz"),
        (["npy", "jpg"], "jpg"),
        (["input.npy", "b.png"], "b.png"),
        (["seg.npy"], None),
        (["output.npy", "cls"], None),
    ],
)
def test_an_array_is_an_image_where_there_is_no_other(tmp_path, names, chosen):
    members = [("a.jpg", b"of another")] + [(f"b.{name}", name.encode()) for name in names]
    path = write_tar(tmp_path / "a.tar", members)
    shards = open_shards(path)
    reader = ShardReader(shards)
    found = [reader.read(0, row).decode() for row in range(shards.num_samples)]
    assert found == ["of another", *([chosen] if chosen else [])]
