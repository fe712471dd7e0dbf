import pytest

from ssl_swin.data.pixels.channels import as_names, numbers_of, places_among, unusable_names
from ssl_swin.errors import UserError

KNOWN = ("blue", "green", "red", "nir")


@pytest.mark.parametrize(
    ("channels", "known", "numbers"),
    [
        (None, KNOWN, None),
        ((2, 0, 2), KNOWN, (2, 0, 2)),
        ((2, 0), None, (2, 0)),
        (("nir", "blue"), KNOWN, (3, 0)),
        (("nir", "blue"), KNOWN[::-1], (0, 3)),
    ],
)
def test_channels_are_meant_by_number_or_by_name(channels, known, numbers):
    assert numbers_of(channels, known, "data.channels", "a.tar") == numbers
    assert as_names(channels) == (channels if channels and channels[0] == "nir" else None)


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(UserError) as caught:
        numbers_of(("nirr",), KNOWN, "data.channels", "a.tar")
    assert str(caught.value) == (
        "data.channels asks for 'nirr'; the channels of a.tar are blue, green, red, nir; did you "
        "mean nir?"
    )
    with pytest.raises(UserError, match=r"no channels\.json names the channels of a\.tar"):
        numbers_of(("nir",), None, "data.channels", "a.tar")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("a", "b"), None),
        (("B8A", "08A", "SWIR 1"), None),
        (("a", "a"), "'a' is there twice"),
        (("a", " "), "' ' is no name"),
        (("a", 3), "3 is no name"),
        (("4",), "the name '4' is a number"),
        (("-4",), "the name '-4' is a number"),
    ],
)
def test_names_are_words_of_their_own_and_no_numbers(names, said):
    found = unusable_names(names)
    assert (found is None) if said is None else said in found


@pytest.mark.parametrize(
    ("shown", "taken", "places"),
    [
        (None, (3, 1), None),
        ((3,), None, (3,)),
        ((1, 3, 1), (3, 1), (1, 0, 1)),
        (("green", "nir", "green"), (3, 1), (1, 0, 1)),
    ],
)
def test_what_pictures_show_is_found_among_what_is_taken(shown, taken, places):
    assert places_among(shown, taken, KNOWN, "a.tar") == places


def test_what_is_not_taken_cannot_be_shown():
    with pytest.raises(UserError, match="picture_channels asks for 'red', which is none"):
        places_among(("red",), (3, 1), KNOWN, "a.tar")
