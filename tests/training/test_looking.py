from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ssl_swin.training.looking import is_due, looking, takes_part

TRAINER = SimpleNamespace(
    precision_plugin=SimpleNamespace(val_step_context=nullcontext), strategy=None
)


@pytest.mark.parametrize(
    ("step", "every", "due"),
    [(10, 5, True), (11, 5, False), (12, 5, True), (10, 0, False), (12, 0, True)],
)
def test_it_is_due_every_so_many_steps_and_at_the_end(step, every, due):
    assert is_due(step, every, 12) is due


def test_rank_0_looks_alone():
    for is_first in (True, False):
        trainer = SimpleNamespace(is_global_zero=is_first, strategy=None)
        assert takes_part(trainer) is is_first


@pytest.mark.parametrize("was_training", [True, False])
def test_a_look_leaves_no_trace_not_even_one_that_fails(was_training):
    module, seen = nn.Dropout().train(was_training), []

    def look():
        with looking(TRAINER, module):
            seen.append((module.training, torch.is_grad_enabled()))
            raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        look()
    assert seen == [(False, False)]
    assert module.training is was_training
    assert torch.is_grad_enabled()
