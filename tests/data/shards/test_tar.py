import os
import random
import subprocess
import tarfile

import pytest
import webdataset

from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.index_file import index_beside
from ssl_swin.data.shards.indexing import index_shard
from ssl_swin.data.shards.left_out import LINK, NO_FILE
from ssl_swin.data.shards.names import sample_key
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.errors import ShardError
from tests.data.shards.tars import FORMATS, samples, write_tar

HOSTILE = [
    "plain.png",
    "with space.png",
    "Zoë/日本語.jpg",
    "dots.in.folder/x.png",
    "a/b/c/two.parts.png",
    "./leading.webp",
    "quote'\"\\.png",
    "UPPER.JPEG",
    "new\nline.tif",
    "x" * 90 + ".tiff",
]


LONG = ["l" * 150 + ".png", "f" * 120 + "/" + "n" * 120 + ".jpg", "日" * 90 + ".png"]


def read_all(path):
    reader = ShardReader(open_shards(str(path)))
    count = int(reader.shards.counts[0])
    return [(reader.key(0, row), reader.read(0, row)) for row in range(count)]


@pytest.mark.parametrize("format", FORMATS)
def test_every_hostile_name_is_found_with_the_bytes_tarfile_reads(tmp_path, format):
    names = HOSTILE + ([] if format == "ustar" else LONG)
    members = [(name, f"payload of {name}".encode() * 40) for name in names]
    path = write_tar(tmp_path / "a.tar", members, format)
    with tarfile.open(path) as tar:
        expected = [(sample_key(m.name)[0], tar.extractfile(m).read()) for m in tar]
    assert read_all(path) == expected
    assert len(expected) == len(names)


@pytest.mark.parametrize("format", FORMATS)
def test_tars_of_the_tar_command_are_read(tmp_path, format):
    folder = tmp_path / "images"
    (folder / "class a").mkdir(parents=True)
    names = ["class a/1.png", "class a/2.png", *([] if format == "ustar" else [LONG[0]])]
    for name in names:
        (folder / name).write_bytes(name.encode() * 50)
    (folder / "link.png").symlink_to("class a/1.png")
    (folder / "pipe.png").mkdir()
    command = ["tar", "-cf", "a.tar", f"--format={format}", "--sort=name", "-C", "images", "."]
    subprocess.run(command, cwd=tmp_path, check=True)
    expected = sorted((f"./{name[:-4]}", name.encode() * 50) for name in names)
    assert sorted(read_all(tmp_path / "a.tar")) == expected


@pytest.mark.parametrize("seed", range(20))
def test_samples_are_the_ones_webdataset_sees(tmp_path, seed):
    draw = random.Random(seed)
    members = []
    for place in range(30):
        extensions = ["png", "cls", "json", "txt", "seg.npy", "JPG"]
        for extension in draw.sample(extensions, draw.randint(1, 5)):
            folder = draw.choice(["", "a.b/", "c/d/"])
            members.append((f"{folder}{place}.{extension}", draw.randbytes(draw.randint(0, 1500))))
        members.append(("__meta__/x.png", b"") if place == 7 else (f"noise{place}", b"no dot"))
    path = write_tar(tmp_path / "a.tar", members, draw.choice(list(FORMATS)))
    with path.open("rb") as file:
        files = webdataset.tariterators.tar_file_expander([{"url": "a", "stream": file}])
        groups = list(webdataset.tariterators.group_by_keys(files))
    expected = []
    for group in groups:
        image = next((group[name] for name in group if name in ("png", "jpg")), None)
        if image is not None:
            expected.append((group["__key__"], image))
    assert read_all(path) == expected


@pytest.mark.parametrize("format", FORMATS)
def test_a_tar_cut_off_anywhere_is_refused_by_name(tmp_path, format):
    whole = write_tar(tmp_path / "whole.tar", samples(4), format).read_bytes()
    end = len(whole.rstrip(b"\0"))
    end += -end % 512  # the last member's padding
    cut = tmp_path / "cut.tar"
    for length in (*range(0, end, 300), *range(512, end + 1, 512), end + 511):
        cut.write_bytes(whole[:length])
        with pytest.raises(ShardError, match=r"cut\.tar is cut off or damaged after \d whole"):
            index_shard(cut)
    assert not index_beside(cut).exists()
    cut.write_bytes(whole[: end + 512])
    assert index_shard(cut).num_samples == 4


def test_how_many_samples_were_whole_is_said(tmp_path):
    path = write_tar(tmp_path / "a.tar", samples(4))
    content = bytearray(path.read_bytes())
    content[5 * 1024 : 5 * 1024 + 512] = b"#" * 512  # the header of the third sample's label
    path.write_bytes(content)
    with pytest.raises(ShardError, match="after 2 whole samples"):
        index_shard(path)


def test_compressed_and_sparse_tars_are_refused(tmp_path):
    with tarfile.open(tmp_path / "gz.tar", "w:gz"):
        pass
    with pytest.raises(ShardError, match=r"gz\.tar .* a shard is an uncompressed tar"):
        index_shard(tmp_path / "gz.tar")
    with (tmp_path / "hole.png").open("wb") as file:
        file.truncate(2**20)
    subprocess.run(["tar", "-Scf", "sparse.tar", "hole.png"], cwd=tmp_path, check=True)
    with pytest.raises(ShardError, match="pack without --sparse"):
        index_shard(tmp_path / "sparse.tar")


def linked(name, target, kind=tarfile.LNKTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("format", FORMATS)
def test_hard_links_are_the_files_that_they_lead_to(tmp_path, format):
    members = [
        ("./a.png", b"one image"),
        ("./a.cls", b"3"),
        linked("b.png", "./a.png"),
        linked("b.cls", "a.cls"),
        linked("./c.png", "b.png"),
    ]
    path = write_tar(tmp_path / "a.tar", members, format)
    assert read_all(path) == [(key, b"one image") for key in ("./a", "b", "./c")]
    reader = ShardReader(open_shards(str(path)))
    assert [reader.label(0, row) for row in range(2)] == [3, 3]
    assert sum(entry.left_out == {} for entry in reader.storage.entries) == 1


def test_no_link_leads_out_of_a_tar(tmp_path):
    (tmp_path / "outside.png").write_bytes(b"outside")
    members = [
        linked("early.png", "a.png"),  # a file that comes later is not there yet
        ("a.png", b"one image"),
        linked("absolute.png", str(tmp_path / "outside.png")),
        linked("up.png", "../outside.png"),
        linked("soft.png", "a.png", tarfile.SYMTYPE),
        linked("self.png", "./self.png"),
        linked("circle.png", "circle2.png"),
        linked("circle2.png", "circle.png"),
        linked("pipe.png", "", tarfile.FIFOTYPE),
    ]
    path = write_tar(tmp_path / "a.tar", members)
    assert read_all(path) == [("a", b"one image")]
    found = open_shards(str(path)).storage.entries[0].left_out
    assert found == {LINK: (7, "early.png"), NO_FILE: (1, "pipe.png")}


def test_tars_of_linked_files_by_the_tar_command_are_read(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "one.png").write_bytes(b"one image")
    for name in ("two.png", LONG[0]):
        os.link(tmp_path / "images" / "one.png", tmp_path / "images" / name)
    command = ["tar", "-cf", "a.tar", "--sort=name", "-C", "images", "."]
    subprocess.run(command, cwd=tmp_path, check=True)
    found = read_all(tmp_path / "a.tar")
    assert {key for key, _ in found} == {"./one", "./two", f"./{LONG[0][:-4]}"}
    assert {data for _, data in found} == {b"one image"}
