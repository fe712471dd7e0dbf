import pytest

from ssl_swin.errors import UserError
from ssl_swin.models.lookup import look_up
from ssl_swin.models.losses import LOSSES, l1
from ssl_swin.models.masking import MASKS, random_mask


def test_an_entry_is_found_by_its_name():
    assert look_up(LOSSES, "loss", "l1") is l1
    assert look_up(MASKS, "mask.kind", "random") is random_mask


def test_an_unknown_name_is_refused_with_the_nearest_ones():
    table = dict.fromkeys(["random", "block", "grid", "rand"])
    with pytest.raises(UserError, match=r"mask\.kind='randon' is not known; nearest: random, rand"):
        look_up(table, "mask.kind", "randon")


def test_names_that_begin_so_come_first():
    table = dict.fromkeys(["randon", "a_random", "random_blocks_of_any_size_and_place"])
    with pytest.raises(UserError, match="nearest: random_blocks_of_any_size_and_place, a_r"):
        look_up(table, "mask.kind", "random")
