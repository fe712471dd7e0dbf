import pytest

from ssl_swin.errors import UserError
from ssl_swin.models.lookup import look_up
from ssl_swin.models.losses import LOSSES, l1
from ssl_swin.models.masking import MASKS, random_mask


def test_an_entry_is_found_by_its_name():
    assert look_up(LOSSES, "loss", "l1") is l1
    assert look_up(MASKS, "mask.kind", "random") is random_mask


def test_an_unknown_name_is_refused_with_all_of_a_few():
    told = r"mask\.kind='foo' is not known; give one of random, block, square, none$"
    with pytest.raises(UserError, match=told):
        look_up(MASKS, "mask.kind", "foo")


MANY = [f"{number:02}" for number in range(12)]


def test_an_unknown_name_of_many_is_refused_with_the_nearest_and_what_lists_all():
    table = dict.fromkeys(["random", "block", "grid", "rand", *MANY])
    told = r"mask\.kind='randon' is not known; nearest: random, rand, .*; all: ssl-swin x$"
    with pytest.raises(UserError, match=told):
        look_up(table, "mask.kind", "randon", "ssl-swin x")


def test_names_that_begin_so_come_first():
    table = dict.fromkeys(["randon", "a_random", "random_blocks_of_any_size_and_place", *MANY])
    with pytest.raises(UserError, match="nearest: random_blocks_of_any_size_and_place, a_r"):
        look_up(table, "mask.kind", "random")
