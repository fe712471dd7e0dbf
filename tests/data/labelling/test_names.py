from collections import Counter

import pytest

from ssl_swin.data.labelling.names import classes_of
from ssl_swin.errors import ShardError


def numbered(texts, given=None):
    names, number, told = classes_of(Counter(texts), given, "csv=x")
    return names, [number[text] for text in texts], told


@pytest.mark.parametrize(
    ("texts", "names", "numbers"),
    [
        (["dog", "ant", "cat"], ["ant", "cat", "dog"], [2, 0, 1]),
        (["1", "b", "10"], ["1", "10", "b"], [0, 2, 1]),
        (["2", "0", "10", "3", "1", "4", "5"], [*"0123456789", "10"], [2, 0, 10, 3, 1, 4, 5]),
        (["0.0", "1.0"], ["0", "1"], [0, 1]),
        (["3", "1", "2"], ["1", "2", "3"], [2, 0, 1]),
        (["0", "90", "-7"], ["-7", "0", "90"], [1, 2, 0]),
        (["7"], ["7"], [0]),
        (["nan", "1"], ["1", "nan"], [1, 0]),
    ],
)
def test_names_and_numbers_get_numbers_from_0(texts, names, numbers):
    assert numbered(texts)[:2] == (names, numbers)


def test_numbers_that_do_not_stay_as_they_are_are_told():
    assert numbered(["1", "2", "102"])[2] == ["labels 1 to 102 are numbered 0 to 2, in their order"]
    assert numbered(["0", "1"])[2] == []


def test_classes_that_are_given_number_names_and_are_numbered_by_numbers():
    assert numbered(["dog", "ant"], ["ant", "bee", "dog"])[:2] == (["ant", "bee", "dog"], [2, 0])
    assert numbered(["2", "0"], ["ant", "bee", "dog"])[:2] == (["ant", "bee", "dog"], [2, 0])
    assert numbered(["10", "20"], ["20", "10"])[1] == [1, 0]
    for texts in (["eel", "ant"], ["0", "3"], ["-1"]):
        with pytest.raises(ShardError, match=r"csv=x has \d labels that are none of the 3 given"):
            numbered(texts, ["ant", "bee", "dog"])
