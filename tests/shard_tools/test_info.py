import json
import re

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
    assert rows_of(capsys.readouterr().out)["samples"] == "0"


def test_info_shows_each_set_of_a_folder_that_was_split(tmp_path, capsys):
    for name, num in (("val", 1), ("train", 2)):
        (tmp_path / name).mkdir()
        tar = tmp_path / name / "a.tar"
        write_tar(tar, [(f"{n}.png", image_bytes(n)) for n in range(num)])
    info(str(tmp_path))
    assert re.findall(r"│ samples +│ (\d+) ", capsys.readouterr().out) == ["2", "1"]


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


def test_classes_have_their_names_and_those_without_an_image_are_there(folder, capsys):
    (folder / "classes.json").write_text('["ant", "[bold]bee", "cat"]')
    info(str(folder))
    rows = rows_of(capsys.readouterr().out)
    assert (rows["class 0 ant"], rows["class 1 [bold]bee"], rows["class 2 cat"]) == ("5", "4", "0")
    assert rows["classes"] == "2, numbered 0 to 1"


def test_labels_in_json_are_counted_by_their_field(tmp_path, capsys):
    members = []
    for place in range(6):
        text = json.dumps({"kind": place % 3 + 1, "label": 0.5}).encode()
        members += [(f"{place}.png", image_bytes(place)), (f"{place}.json", text)]
    write_tar(tmp_path / "a.tar", members)
    info(str(tmp_path), label_field="kind")
    rows = rows_of(capsys.readouterr().out)
    assert rows["labels"] == "0 .cls, 6 .json, 0 without"
    assert (rows["class 1"], rows["class 3"]) == ("2", "2")
    info(str(tmp_path))
    printed = capsys.readouterr().out
    assert "6 labels are no number, or have none in the field" in printed
    assert "class 1" not in printed


def test_of_many_classes_the_first_are_listed(tmp_path, capsys):
    members = []
    for place in range(30):
        members += [(f"{place:02d}.png", image_bytes(0)), (f"{place:02d}.cls", b"%d" % place)]
    write_tar(tmp_path / "a.tar", members)
    info(str(tmp_path))
    rows = rows_of(capsys.readouterr().out)
    assert rows["and 10 more"] == "1 to 1 each"
    assert rows["class 19"] == "1"
    assert "class 20" not in rows


def test_what_holds_no_image_is_named_by_its_extensions(tmp_path, capsys):
    members = [(f"{place}.mp", b"") for place in range(1000)] + [("a.TXT", b""), ("b.x.txt", b"")]
    write_tar(tmp_path / "a.tar", members)
    info(str(tmp_path))
    printed = capsys.readouterr().out
    assert "no images; extensions found: mp 1,000, txt 2\n" in printed
    assert "1002 keys without an image, as '0.mp'" in printed
