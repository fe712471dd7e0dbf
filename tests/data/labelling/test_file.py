"""Labels of a file, for sets whose tars have none."""

import tracemalloc

import numpy as np
import pytest

from ssl_swin.data.labelling.file import LabelFile, first_key
from ssl_swin.errors import ShardError, UserError


@pytest.fixture
def label_file(tmp_path):
    def read(text, task="single-label", known=None):
        path = tmp_path / "l.csv"
        path.write_text(f"key,label\n{text}")
        return LabelFile.read(path, "labels=l", task, known)

    return read


def test_each_sample_finds_its_row(make_set, label_file):
    shards = make_set("a", {"p": None, "d/q": None}, {"r": None})
    file = label_file("r,cat\nd/q,ant\ns,cat\n")
    rows = file.of_set(shards, "x")
    assert rows.tolist() == [-1, 1, 0]
    given = file.labels.taken(rows)
    assert (given.names, given.number.tolist()) == (("ant", "cat"), [-1, 0, 1])
    assert first_key(shards, 1) == "d/q"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a,1\nb,2\na,1\n", "the key 'a' twice, line 2 and line 4, both with the label '1'; leave"),
        ("a,1\nb,2\nb,3\n", "key 'b' twice, line 3 and line 4, with the labels '2' and '3'; leave"),
        ("a,1\n,2\n", "line 3, has no key; write which sample it is of"),
        ("", "has no rows below its first line"),
    ],
)
def test_what_contradicts_itself_is_refused(label_file, text, why):
    with pytest.raises(UserError, match=f"^labels=l.*{why}"):
        label_file(text)


def test_a_label_that_is_no_number_is_named_with_its_line(label_file):
    with pytest.raises(UserError, match=r"l, line 3, has no label .* for 'b': .*'nan'.* no finite"):
        label_file("a,1\nb,nan\n", "regression")


def test_names_that_are_not_known_are_counted(label_file):
    with pytest.raises(ShardError, match=r"l has 2 labels that are none of the 1 given .*: 'dgo';"):
        label_file("a,cat\nb,dgo\nc,dgo\n", known=("cat",))


def test_one_key_of_two_images_is_refused(make_set, label_file):
    shards = make_set("a", {"p": None, "q": None}, {"q": None})
    with pytest.raises(UserError, match=r"one label for the key 'q', .* in .*0\.tar and .*1\.tar;"):
        label_file("q,1\n").of_set(shards, "x")
    assert label_file("p,1\n").of_set(shards, "x").tolist() == [0, -1, -1]


def test_many_rows_take_little_memory(tmp_path):
    path, num = tmp_path / "l.csv", 100_000
    with path.open("w") as file:
        file.write("key,label\n")
        file.writelines(f"folder/of/images/{row:09d},class {row % 1000}\n" for row in range(num))
    tracemalloc.start()
    read = LabelFile.read(path, "labels=l", "single-label", None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(read.labels.missing) == num
    assert peak < 150 * num  # bytes; text and dictionaries would take three times as many
    assert (np.bincount(read.labels.number) == num / 1000).all()
