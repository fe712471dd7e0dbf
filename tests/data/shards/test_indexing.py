import io
import json
import os
import random
import subprocess
import tarfile

import numpy as np
import pytest
import webdataset

from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.index_file import SAMPLE_DTYPE, index_beside
from ssl_swin.data.shards.indexing import index_shard, index_shards
from ssl_swin.data.shards.manifest import MANIFEST_NAME
from ssl_swin.data.shards.names import sample_key
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.errors import ShardError
from ssl_swin.shard_tools.index import index
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
    assert read_all(path) == [("x", chosen.encode())]


def test_rows_hold_what_the_contract_says(tmp_path):
    path = write_tar(tmp_path / "a.tar", [(LONG[0], b"12345"), (LONG[0][:-3] + "json", b"{}")])
    assert index_shard(path, tmp_path / "elsewhere.npy") == 1
    table = np.load(tmp_path / "elsewhere.npy", mmap_mode="r")
    assert table.dtype == SAMPLE_DTYPE
    assert table[-1]["header"] == path.stat().st_size
    header, offset, size, label_offset, label_size, label_kind = table[0].item()
    assert (header, size, label_size, label_kind) == (0, 5, 2, 2)
    content = path.read_bytes()
    assert content[offset : offset + size] == b"12345"
    assert content[label_offset : label_offset + label_size] == b"{}"
    with io.BytesIO(content[header:]) as file, tarfile.open(fileobj=file) as tar:
        assert tar.next().name == LONG[0]


def test_keys_without_an_image_are_left_out_and_counted(tmp_path, capsys):
    members = [("a.txt", b""), *samples(2), ("b.json", b"{}"), (".hidden.png", b"")]
    write_tar(tmp_path / "a.tar", members)
    index(str(tmp_path))
    assert capsys.readouterr().out == (
        "2 samples in 1 shards; 2 keys without an image were left out; "
        "1 members that are in no sample were left out\n"
    )


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
    assert index_shard(cut) == 4


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


def test_payloads_are_not_read(tmp_path):
    path, size = tmp_path / "a.tar", 20 * 2**30
    info = tarfile.TarInfo("big.png")
    info.size = size
    with path.open("wb") as file:  # 20 GiB on paper, a hole on disk
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + size + 1024)
    assert index_shard(path) == 1
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
    assert manifest == {"format": 1, "shards": expected}


def test_indexing_again_writes_the_same_bytes_and_leaves_nothing_else(tmp_path):
    path = write_tar(tmp_path / "a.tar", samples(5))
    index_shards([path])
    first = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    index_shards([path])
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == first
    assert sorted(first) == ["a.tar", "a.tar.index.npy", "index.json"]


def test_no_workers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="num_workers=0"):
        index_shards([write_tar(tmp_path / "a.tar", samples(1))], num_workers=0)
