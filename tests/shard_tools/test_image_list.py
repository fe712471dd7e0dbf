import csv
import json
from collections import Counter

import pytest

from ssl_swin.data.shards.left_out import (
    NO_LABEL,
    NOT_AN_IMAGE,
    NOT_LISTED,
    NOT_THERE,
    SEVERAL,
    TWICE,
)
from ssl_swin.errors import ShardError, UserError
from ssl_swin.shard_tools.image_list import list_rows
from tests.data.shards.tars import image_bytes

NO_COLUMNS = dict.fromkeys(("path", "label", "group", "split"))


@pytest.fixture
def images(tmp_path):
    for number, name in enumerate(["1.png", "2.png", "a/3.png", "b/3.png", "b/4.5.jpg"]):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(image_bytes(number))
    return tmp_path / "images"


def listed(images, text, name="list.csv", classes=None, **columns):
    file = images.parent / name
    file.write_text(text, encoding="utf-8-sig")
    return list_rows(images, file, NO_COLUMNS | columns, classes)


def rows_of(found):
    return [(one.name, one.label, one.group) for one in found.files]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_rows_give_path_label_and_group(images, mark):
    text = "Path,Label,x,group\n2.png,dog,,p1\n1.png,cat,,p2\n\nb/3.png,dog,,\n"
    found = listed(images, text.replace(",", mark))
    assert rows_of(found) == [("1.png", 0, "p2"), ("2.png", 1, "p1"), ("b/3.png", 1, None)]
    assert found.classes == ["cat", "dog"]
    assert found.left_out == {NOT_LISTED: (2, "a/3.png")}
    assert found.told == [
        f"{images.parent}/list.csv: path from 'Path', label from 'Label', group from 'group'"
    ]


def test_pythons_limit_of_a_cell_is_what_it_was(images):
    limit = csv.field_size_limit()
    found = listed(images, f"path,text\n1.png,{'x' * 200_000}\n2.png,\n")
    assert [one.name for one in found.files] == ["1.png", "2.png"]
    with pytest.raises(UserError, match="is no CSV, mend line 2: field larger"):
        listed(images, f"path,text\n1.png,{'x' * 2**25}\n")
    assert csv.field_size_limit() == limit


def test_only_an_end_of_line_ends_a_row(images):
    odd = "two\u2028lines\x0b"
    for text in (f"path,label\n1.png,{odd}a\n", json.dumps({"path": "1.png", "label": odd + "a"})):
        name = "list.csv" if text.startswith("path") else "list.jsonl"
        text = text.replace("\\u2028", "\u2028")
        assert listed(images, text, name).classes == [odd + "a"]


@pytest.mark.parametrize("name", ["list.jsonl", "list.json"])
def test_json_objects_are_rows(images, name):
    rows = [{"file_name": "1.png", "class": 3}, {"file_name": "2.png", "class": 5, "more": [1]}]
    lines = "\n".join(map(json.dumps, rows)) if name.endswith("l") else json.dumps(rows, indent=1)
    found = listed(images, lines, name)
    assert rows_of(found) == [("1.png", 0, None), ("2.png", 1, None)]
    assert found.classes == ["3", "5"]
    assert "labels 3 to 5 are numbered 0 to 1, in their order" in found.told
    with pytest.raises(UserError, match="is no list of JSON objects"):
        listed(images, '{"path": "1.png"}\n[1]', name)


def test_a_path_may_lack_its_extension_or_folder_or_be_another_folders(images):
    (images.parent / "out.png").write_bytes(image_bytes(9))
    paths = ["./1", "images/2.png", "3", "4.5", "out.png", r"b\3.png", f"{images}/a/3.png"]
    found = listed(images, "image\n" + "\n".join(paths))
    names = ["1.png", "2.png", "a/3.png", "b/3.png", "b/4.5.jpg", f"{images.parent}/out.png"]
    assert sorted(name for name, *_ in rows_of(found)) == sorted(names)
    assert found.left_out == {SEVERAL: (1, "3")}


def test_what_is_left_out_is_counted(images):
    (images / "x.txt").write_text("")
    text = "path,label\n1.png,cat\n1.png,cat\n2.png,\nno.png,cat\n,dog\n"
    found = listed(images, text)
    assert {why: num for why, (num, _) in found.left_out.items()} == Counter(
        {TWICE: 1, NO_LABEL: 1, NOT_THERE: 2, NOT_LISTED: 4, NOT_AN_IMAGE: 1}
    )
    assert found.left_out[NOT_THERE] == (2, "no.png")


def test_without_labels_folders_that_hold_all_images_are_the_classes(images):
    found = listed(images, "path,patient\na/3.png,x\nb/3.png,y\n", group="patient")
    assert rows_of(found) == [("a/3.png", 0, "x"), ("b/3.png", 1, "y")]
    assert found.classes == ["a", "b"]
    assert listed(images, "path\na/3.png\nb/3.png\n1.png").classes == []
    assert listed(images, "path\nb/3.png\nb/4.5.jpg").classes == []


def test_classes_that_are_given_are_those_of_the_labels(images):
    found = listed(images, "path,label\n1.png,dog\n2.png,cat\n", classes=["eel", "dog", "cat"])
    assert rows_of(found) == [("1.png", 1, None), ("2.png", 2, None)]
    assert found.classes == ["eel", "dog", "cat"]


@pytest.mark.parametrize(
    ("text", "columns", "error", "message"),
    [
        ("a,b\n1.png,x\n", {}, UserError, "has the columns 'a', 'b', and none .* --path-column"),
        ("", {}, UserError, "has the columns no columns"),
        ("path\n1.png\n", {"label": "dx"}, UserError, r"no column 'dx' \(--label-column\); give"),
        ("path\n1.png\n", {"split": "fold"}, UserError, r"no column 'fold' \(--split\); give"),
        ("path\nno.png\n", {}, UserError, "names no image that is there; 'no.png' is neither in"),
        ("path,label\n1.png,a\n1.png,b\n", {}, ShardError, "'1.png' has two labels, 'a' and 'b'"),
    ],
)
def test_a_list_that_says_too_little_is_refused(images, text, columns, error, message):
    with pytest.raises(error, match=message):
        listed(images, text, **columns)


def test_a_list_that_cannot_be_read_is_refused(images):
    with pytest.raises(UserError, match=r"csv=.*no\.csv: No such file"):
        list_rows(images, images / "no.csv", NO_COLUMNS, None)
