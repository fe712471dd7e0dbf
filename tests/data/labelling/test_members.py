"""Names, lists and numbers in tars."""

import numpy as np
import pytest

from ssl_swin.data.batches.labels import Labels, all_labels
from ssl_swin.data.labelling.attach import Asked, attach
from ssl_swin.data.labelling.members import labels_of_tars
from ssl_swin.data.shards.classes import names_of
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.errors import ShardError, UserError


def attached(shards, **asked):
    found, said = attach({"x": shards}, Asked(**asked))
    return found["x"], said


def test_names_in_cls_get_the_numbers_of_classes_json(make_set):
    shards = make_set("a", {"p": "bee", "q": "ant\n", "r": "\ufeffbee"}, classes=["bee", "ant"])
    found, said = attached(shards)
    assert all_labels(found, "label").tolist() == [0, 1, 0]
    assert (names_of(found), said) == (("bee", "ant"), [])
    assert [ShardReader(found).label(0, row) for row in range(3)] == [0, 1, 0]


def test_without_classes_json_names_are_sorted_over_all_sets_and_that_is_told(make_set):
    train, test = make_set("a", {"p": "cat"}, {"q": "bee"}), make_set("b", {"r": "ant"})
    found, said = attach({"a": train, "b": test}, Asked())
    assert [all_labels(one, "label").tolist() for one in found.values()] == [[2, 1], [0]]
    assert {names_of(one) for one in found.values()} == {("ant", "bee", "cat")}
    assert said == [
        "no classes.json beside a or b: the classes are the names of their labels, sorted: ant, "
        "bee, cat"
    ]


def test_a_set_without_classes_json_takes_the_names_of_one_that_has_them(make_set):
    train = make_set("a", {"p": 1}, classes=["bee", "ant"])
    found, said = attach({"a": train, "b": make_set("b", {"r": "ant"})}, Asked())
    assert (found["a"].given, said) == (None, [])
    assert all_labels(found["b"], "label").tolist() == [1]


def test_a_field_of_json_may_hold_a_name(make_set):
    shards = make_set("a", {"p": {"kind": "cat"}, "q": {"kind": "ant"}, "r": {"other": 1}})
    found, said = attached(shards, field="kind")
    assert all_labels(found, "kind").tolist() == [1, 0, -1]
    assert said[1] == "x: 1 of 3 images have no label"


def test_names_that_classes_json_lacks_are_counted_and_named(make_set):
    shards = make_set("a", {"p": "cat", "q": "dgo", "r": "dgo"}, classes=["cat", "dog"])
    with pytest.raises(ShardError, match=r"^x has 2 labels that are none of the 2 .*: 'dgo'; mend"):
        attached(shards)


@pytest.mark.parametrize("labels", [[0, 3, 1], [0, "cat"], ["0.5", "1.5"], ["-1"], [None]])
def test_numbers_stay_in_the_tars_and_what_is_odd_among_them_is_told_as_ever(make_set, labels):
    shards = make_set("a", {str(place): label for place, label in enumerate(labels)})
    found, said = attached(shards)
    assert (found.given, said) == (None, [])


def test_a_label_as_long_as_a_film_is_refused_and_not_read(make_set, monkeypatch):
    shards = make_set("a", {"p": "cat", "q": b"x" * 10_000_000})
    read = []
    storage = type(shards.storage)
    of_file = storage.read
    monkeypatch.setattr(storage, "read", lambda self, *at: read.append(at[2]) or of_file(self, *at))
    with pytest.raises(ShardError, match=r"^sample 'q' of .* it has more than 4,096 bytes; mend"):
        attached(shards)
    assert max(read) <= 4097


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x80"])
def test_what_is_no_text_is_refused(make_set, content):
    with pytest.raises(ShardError, match=r"sample 'q' of .* cannot be read"):
        attached(make_set("a", {"p": "cat", "q": content}))


def test_lists_are_several_classes_by_name_or_number(make_set):
    labels = [["cat", "ant"], [], ["ant"], None]
    shards = make_set("a", {str(at): {"label": one} for at, one in enumerate(labels)})
    given = attached(shards, task="multi-label")[0].given
    assert given.names == ("ant", "cat")
    assert [given.of(at).tolist() for at in range(4)] == [[1, 0], [], [0], []]
    assert given.missing.tolist() == [False, False, False, True]
    numbers = make_set("b", {"p": {"label": [2, 0]}, "q": {"label": 1}})
    given = attached(numbers, task="multi-label")[0].given
    assert (given.names, given.of(0).tolist(), given.of(1).tolist()) == (
        ("0", "1", "2"),
        [2, 0],
        [1],
    )


def test_numbers_for_regression_may_be_several(make_set):
    shards = make_set("a", {"p": {"label": [1.5, -2]}, "q": {"label": [0, 1e3]}})
    given = attached(shards, task="regression")[0].given
    assert given.values.dtype == np.float64
    assert [given.of(at).tolist() for at in range(2)] == [[1.5, -2.0], [0.0, 1000.0]]
    ages = attached(make_set("b", {"p": "31.5", "q": "40"}), task="regression")[0].given
    assert ages.values.tolist() == [31.5, 40.0]


@pytest.mark.parametrize(
    ("task", "label", "why"),
    [
        ("regression", float("nan"), "nan is no finite number"),
        ("regression", [1, float("inf")], r"\[1, inf\] is no finite number"),
        ("regression", "tall", "'tall' is no finite number"),
        ("regression", [], r"\[\] is no finite number"),
        ("regression", True, "True is no finite number"),
        ("regression", [1, 2], "it has 2 numbers, and those before have 1"),
        ("multi-label", [0.5], "0.5 is neither a name nor a whole number"),
        ("multi-label", [["cat"]], r"\['cat'\] is neither a name nor a whole number"),
        ("multi-label", ["cat", "cat"], "it names a class twice"),
        ("single-label", ["cat", "ant"], "it is a list of 2, and a sample has one class"),
        ("single-label", {"a": "b"}, r"\{'a': 'b'\} is neither a name nor a whole number"),
    ],
)
def test_a_label_of_another_task_is_named(make_set, task, label, why):
    first = 1 if task == "regression" else "ant"
    shards = make_set("a", {"p": {"label": first}, "q": {"label": label}})
    with pytest.raises(ShardError, match=rf"^sample 'q' of .* no label of the task {task}: {why};"):
        labels_of_tars({"x": shards}, "label", task, None)


def test_classes_of_a_model_are_held_against_names(make_set):
    found, _ = attached(make_set("a", {"p": "cat", "q": "ant"}))
    assert Labels(2).all(found, "x").tolist() == [1, 0]
    with pytest.raises(UserError, match="'p' of class 1"):
        Labels(1).check(found, "x")
