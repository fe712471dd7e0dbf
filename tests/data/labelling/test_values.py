"""Labels as people write them."""

import pytest

from ssl_swin.data.labelling.values import UnusableLabel, Values


def collected(task, labels, known=None):
    values = Values(task)
    for label in labels:
        values.add(label)
    return values.finish(known, "x")


def test_text_holds_several_labels_between_semicolons():
    given, _ = collected("multi-label", ["cat; ant", "", "ant", None])
    assert [given.of(at).tolist() for at in range(4)] == [[1, 0], [], [0], []]
    assert given.missing.tolist() == [False, False, False, True]
    given, _ = collected("regression", ["1; 2.5", "", "-1;0"])
    assert given.values.tolist() == [1.0, 2.5, -1.0, 0.0]
    assert given.missing.tolist() == [False, True, False]
    given, _ = collected("single-label", ["a;b", " a;b "])
    assert given.names == ("a;b",)


def test_numbers_of_classes_may_be_floats_and_get_numbers_from_0():
    given, said = collected("single-label", [3.0, "5", 3])
    assert (given.names, given.number.tolist()) == (("3", "5"), [0, 1, 0])
    assert said == ["labels 3 to 5 are numbered 0 to 1, in their order"]


def test_known_classes_keep_their_numbers():
    given, _ = collected("multi-label", [["bee"], ["bee", "ant"]], ["bee", "cat", "ant"])
    assert (given.names, given.values.tolist()) == (("bee", "cat", "ant"), [0, 0, 2])


def test_a_name_as_long_as_a_book_is_none():
    with pytest.raises(UnusableLabel, match="is neither a name nor a whole number"):
        Values("single-label").add("x" * 1001)
