import numpy as np
import pytest
import torch

from ssl_swin.models.moves import Move
from ssl_swin.models.windows import EMPTY

ORDERS = [
    ([0, 1, 2, 3], [2, 0, 3, 1]),
    ([2, 0, 3, 1], [EMPTY, 3, 0, 1, EMPTY, 2]),
    ([EMPTY, 3, 0, 1, EMPTY, 2], [0, 1, 2, 3]),
]


@pytest.mark.parametrize(("held", "wanted"), ORDERS)
def test_tokens_come_to_their_places_and_zeros_to_the_empty_ones(held, wanted):
    tokens = torch.randn(5, 3)
    tokens[EMPTY] = 0
    x = tokens[held].repeat(2, 1, 1)
    x[:, [place for place, token in enumerate(held) if token == EMPTY]] = 9.0  # in nobody's way
    moved = Move(np.array(held), np.array(wanted))(x)
    assert torch.equal(moved, tokens[wanted].repeat(2, 1, 1))


@pytest.mark.parametrize(("held", "wanted"), ORDERS)
def test_the_gradient_of_a_move_is_right(held, wanted):
    x = torch.randn(2, len(held), 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Move(np.array(held), np.array(wanted)), x)


def test_nothing_is_done_where_tokens_lie_as_they_are_wanted():
    x = torch.randn(1, 4, 2)
    move = Move(np.arange(4), np.arange(4))
    assert move(x) is x
    assert not list(move.buffers())
    assert not Move(np.arange(4), np.array([1, 0, 2, 3])).state_dict()
