import pytest

from ssl_swin.data.open import open_shards
from ssl_swin.errors import ShardError
from ssl_swin.shard_tools.info import info
from ssl_swin.shard_tools.verify import verify
from tests.data.shards.tars import image_bytes, write_tar


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


def test_one_limit_of_pixels_holds_in_all_tools(folder, capsys):
    info(str(folder), max_pixels=220)  # of images with 200 pixels and more
    looked_at = rows_of(capsys.readouterr().out)["images looked at"]
    with pytest.raises(ShardError, match="7 of 9 samples"):
        verify(str(folder), num_workers=1, max_pixels=220)
    assert looked_at == "9, 7 of them unreadable"


def test_info_says_what_was_left_out_or_that_it_is_not_known(folder, capsys):
    write_tar(folder / "train-000002.tar", [("x.png", image_bytes(0)), ("@eaDir/x.png", b"")])
    info(str(folder))
    printed = capsys.readouterr().out
    assert f"left out of {folder}: 1 hidden, " in printed
    assert "not known" not in printed
    info("data/fashion-mnist-sample/test-*.tar")
    assert "2 shards were indexed by release 0.1, and what it left" in capsys.readouterr().out
