import shutil

import pytest

from ssl_swin.data.open import open_shards
from ssl_swin.errors import ShardError
from ssl_swin.shard_tools.inspect import info, verify
from tests.data.shards.tars import image_bytes, write_tar


@pytest.fixture
def folder(tmp_path):
    for shard in range(2):
        members = []
        for place in range(4 + shard):
            size = (10 + place, 20 * (1 + shard))
            members.append((f"s{shard}/{place}.png", image_bytes(place, size=size)))
            members.append((f"s{shard}/{place}.cls", b"%d" % (place % 2)))
        write_tar(tmp_path / f"train-{shard:06d}.tar", members)
    return tmp_path


def test_readable_shards_are_verified(folder, capsys):
    verify(str(folder), num_workers=1)
    assert "9 samples in 2 shards can be read" in capsys.readouterr().out


def test_what_is_broken_is_named_by_shard_and_key(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    whole = image_bytes(0, size=(50, 50))
    members = [
        ("good.png", whole),
        ("cut.png", whole[:1000]),
        ("[bold]text.png", b"text"),
        ("label.png", whole),
        ("label.cls", b"cat"),
    ]
    write_tar(folder / "train-000002.tar", members)
    with pytest.raises(ShardError, match=r"3 of 13 samples in .* are broken"):
        verify(str(folder), num_workers=1)
    printed = capsys.readouterr().out
    for key in ("cut", "[bold]text", "label"):
        assert f"train-000002.tar: {key}: " in printed
    assert "train-000000" not in printed
    assert "good" not in printed


def test_a_shard_that_changed_counts_as_broken(folder, capsys):
    shards = open_shards(str(folder))
    shutil.copy(shards.storage.paths[0], shards.storage.paths[1])
    assert shards.bytes[0] == shards.bytes[1]  # so the size does not tell
    with pytest.raises(ShardError, match="1 of 9 samples"):
        verify(str(folder), num_workers=1)
    assert "(whole shard): " in capsys.readouterr().out
    (folder / "train-000000.tar.index.npy").write_bytes(b"")
    with pytest.raises(ShardError, match="1 of 4 samples"):
        verify(str(folder / "train-000000.tar"), num_workers=1)
    assert "(whole shard)" in capsys.readouterr().out


def rows_of(printed):
    rows = (line.strip("│┃").split("│") for line in printed.splitlines() if line.count("│") == 3)
    return {name.strip(): value.strip() for name, value in rows}


def test_info_counts_samples_classes_and_sizes(folder, capsys):
    info(str(folder))
    rows = rows_of(capsys.readouterr().out)
    assert rows["shards"] == "2"
    assert rows["samples"] == "9 (4 to 5 a shard)"
    assert rows["labels"] == "9 .cls, 0 .json, 0 without"
    assert (rows["class 0"], rows["class 1"]) == ("5", "4")
    assert rows["width, 5/50/95 %"] == "10 / 12 / 14 pixels"
    assert rows["height, 5/50/95 %"] == "20 / 40 / 40 pixels"
    assert rows["fingerprint"] == open_shards(str(folder)).fingerprint()[:16]


def test_info_needs_neither_labels_nor_readable_images(tmp_path, capsys):
    write_tar(tmp_path / "a.tar", [("x.png", b"text"), ("y.png", image_bytes(0))])
    info(str(tmp_path), sample=5)
    rows = rows_of(capsys.readouterr().out)
    assert rows["images looked at"] == "2, 1 of them unreadable"
    assert rows["labels"] == "0 .cls, 0 .json, 2 without"
    write_tar(tmp_path / "b.tar", [])
    info(str(tmp_path / "b.tar"))
    assert rows_of(capsys.readouterr().out)["samples"] == "0 (0 to 0 a shard)"


def test_info_looks_at_as_many_images_as_asked(folder, capsys):
    info(str(folder), sample=3)
    assert rows_of(capsys.readouterr().out)["images looked at"].startswith("3,")
    with pytest.raises(ValueError, match="sample=0"):
        info(str(folder), sample=0)


def test_two_workers_find_the_same(folder):
    write_tar(folder / "train-000002.tar", [("x.png", b"text")])
    with pytest.raises(ShardError, match="1 of 10 samples"):
        verify(str(folder), num_workers=2)
