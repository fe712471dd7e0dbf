import pytest

from ssl_swin.data.labelling.attach import Asked
from ssl_swin.errors import UserError
from ssl_swin.features.labelled import open_labelled
from tests.features.painted import painted


def opened(train, test, told=None):
    say = [].append if told is None else told.append
    return open_labelled(str(train), str(test), Asked(), None, say)


def test_classes_are_the_same_by_name_and_not_by_number(tmp_path):
    train = painted(tmp_path / "train", ["a", "b", "c", "a"], names=["a", "b", "c"])
    test = painted(tmp_path / "test", ["c", "a", "c"], names=["c", "x", "a"])
    first, second, classes = opened(train, test)
    assert classes == ("a", "b", "c")
    assert first.label.tolist() == [0, 1, 2, 0]
    assert second.label.tolist() == [2, 0, 2]
    assert (first.where, second.num_labels) == (f"data={train}", 3)


def test_images_without_a_label_do_not_count(tmp_path):
    train = painted(tmp_path / "train", [0, None, 1, None, 1])
    test = painted(tmp_path / "test", [1, None])
    told = []
    first, second, classes = opened(train, test, told)
    assert classes == ("0", "1")
    assert (first.label.tolist(), second.label.tolist()) == ([0, -1, 1, -1, 1], [1, -1])
    assert f"data={train}: 2 of 5 images have no label and do not count" in told


def test_one_set_for_both_is_warned_of(tmp_path):
    train = painted(tmp_path / "train", [0, 1, 1])
    told = []
    opened(train, train, told)
    assert [line for line in told if line.startswith("warning: data and test are the same")]


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        (([None] * 3, None), ([0, 1], None), "data=.* has no labels"),
        (([0, 1], None), ([None], None), "test=.* has no labels"),
        (([1, 1], None), ([1], None), "one class only .'1'."),
        (([0, 1], None), ([0, 2], None), "test=.* classes that data=.* does not know: '2'"),
        ((["a", "b"], ["a", "b"]), (["A"], ["A"]), "'A' and 'a' may be one thing"),
        ((["a", "b"], ["a", "b"]), ([0, 1], None), "test=.* has no classes.json"),
        (([0, 1], None), (["0"], ["0"]), "data=.* has no classes.json"),
    ],
)
def test_sets_that_cannot_be_held_against_each_other_are_one_line(tmp_path, train, test, said):
    folders = [
        painted(tmp_path / name, label, names)
        for name, (label, names) in (("train", train), ("test", test))
    ]
    with pytest.raises(UserError, match=said):
        opened(*folders)


def test_a_label_beyond_the_names_is_refused(tmp_path):
    train = painted(tmp_path / "train", [0, 5])
    (train / "classes.json").write_text('["a", "b"]')
    test = painted(tmp_path / "test", ["a"], names=["a", "b"])
    with pytest.raises(UserError, match=r"has a label 5, and its classes.json names 2"):
        opened(train, test)
