import bz2
import gzip
import lzma
import subprocess
import tarfile
import zipfile

import pytest

from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.indexing import index_shard
from ssl_swin.data.shards.instead import table_of, what_it_is
from ssl_swin.errors import ShardError
from tests.data.shards.tars import image_bytes, samples, write_tar

PACKED = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def refused(pattern):
    with pytest.raises(ShardError, match=r"^shards=") as refusal:
        open_shards(str(pattern))
    (line,) = str(refusal.value).splitlines()
    return line


@pytest.mark.parametrize("name", ["1.png", "cat/1.JPG", "a/b/c.webp"])
def test_a_folder_of_images_is_told_the_two_commands(tmp_path, name):
    path = tmp_path / "my photos" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(image_bytes(0))
    assert refused(tmp_path / "my photos") == (
        f"shards={tmp_path}/my photos matches no tar: it is a folder of images, such as {name!r}; "
        f"pack them into shards: ssl-swin shards create '{tmp_path}/my photos' 'shards/my photos' "
        "--split val=0.1; then: ssl-swin recipe 'shards/my photos' -o my.yaml"
    )


def test_folders_of_images_that_are_sets_are_packed_as_sets(tmp_path):
    for name in ("Train/ant/1.png", "valid/ant/1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(image_bytes(0))
    assert f"shards create {tmp_path} shards/{tmp_path.name} --split folders; then" in (
        refused(tmp_path)
    )


def test_a_folder_of_sets_is_told_to_give_the_one_to_train_on(tmp_path):
    for name in ("test", "other", "val", "train"):
        (tmp_path / name).mkdir()
        write_tar(tmp_path / name / "a.tar", samples(1))
    assert refused(tmp_path).endswith(
        f"its tars are in folders (train, val, test, other), which are sets; give {tmp_path}/train"
    )


def test_folders_without_tars_and_images_say_what_they_hold(tmp_path):
    (tmp_path / "in").mkdir()
    assert refused(tmp_path / "in").endswith("matches no tar: the folder is empty")
    for name in ("a.mp", "b.mp", "c", "d.txt", ".hidden.png"):
        (tmp_path / "in" / name).touch()
    assert refused(tmp_path / "in").endswith(
        "it holds neither tars nor images; extensions found: mp 2, (none) 1, txt 1"
    )
    assert "give a folder of *.tar files" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("name", ["a.tar.{}", "a.tar", "a.t{}"])
def test_packed_tars_are_unpacked_by_what_is_told(tmp_path, kind, name):
    whole = write_tar(tmp_path / "whole.tar", samples(2))
    (tmp_path / "in put").mkdir()
    path = tmp_path / "in put" / name.format(kind)
    path.write_bytes(PACKED[kind](whole.read_bytes()))
    line = refused(path)
    command = line.partition("unpack it (")[2].partition("), and give the tar")[0]
    subprocess.run(["sh", "-c", command], check=True)
    (unpacked,) = (tmp_path / "in put").iterdir()
    assert open_shards(str(unpacked)).num_samples == 2


def test_a_folder_of_packed_tars_and_archives_of_images_are_named(tmp_path):
    with tarfile.open(tmp_path / "a.tgz", "w:gz"):
        pass
    assert f"gunzip {tmp_path}/a.tgz" in refused(tmp_path)
    assert "'a.tar.zst' is packed by zstd" in what_it_is("a.tar.zst", b"")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as file:
        file.writestr("1.png", image_bytes(0))
    line = refused(tmp_path / "b.zip")
    assert f"'b.zip' is a zip archive: unpack it (unzip {tmp_path}/b.zip -d b)" in line
    assert "ssl-swin shards create b shards/b --split val=0.1" in line


def test_one_image_is_no_shard(tmp_path):
    (tmp_path / "1.png").write_bytes(image_bytes(0))
    assert f"'1.png' is an image; shards of its folder: ssl-swin shards create {tmp_path} " in (
        refused(tmp_path / "1.png")
    )


def test_what_is_cut_off_stays_damaged(tmp_path):
    path = write_tar(tmp_path / "a.tar", samples(3))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ShardError, match="is cut off or damaged after"):
        index_shard(path)


def test_extensions_are_counted_the_most_frequent_first():
    names = ["a/x.mp"] * 1000 + ["y.TXT"] * 3 + ["z"]
    assert table_of(names) == "mp 1,000, txt 3, (none) 1"
    assert table_of(f"x.{number}" for number in range(9)).endswith(", ...")
