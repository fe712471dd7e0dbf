"""A step that is not finite changes nothing, and no step waits for the device to know it."""

import pytest
import torch
from torch.utils.data import DataLoader

from ssl_swin.training.learner import Learner
from ssl_swin.training.trainer import Hardware, make_trainer
from tests.gpu.device import ACCELERATOR, DEVICE
from tests.gpu.test_waits import waits_are_errors
from tests.training.test_bad_steps import FAULTS, States, broken
from tests.training.test_interruption import assert_equal
from tests.training.tiny import batches, learner

BAD, NUM_STEPS = {3, 4}, 7


def without_waits(module: Learner) -> Learner:
    """Let each step but the first raise where it waits on a GPU; that one sets up libraries."""
    take = module.training_step

    def training_step(batch: object, batch_idx: int) -> None:
        if module.step == 0:
            take(batch, batch_idx)
        else:
            with waits_are_errors():
                take(batch, batch_idx)

    module.training_step = training_step  # type: ignore[method-assign]
    return module


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("fault", FAULTS)
def test_it_is_skipped_without_a_wait(fault, precision):
    module = without_waits(broken(learner(2).float(), BAD, fault))
    states = States()
    there = [
        {name: value.to(DEVICE) for name, value in batch.items()} for batch in batches(NUM_STEPS)
    ]
    trainer = make_trainer(Hardware(ACCELERATOR, precision=precision), [states], [])
    trainer.fit(module, train_dataloaders=DataLoader(there, batch_size=None))
    assert len(states.found) == NUM_STEPS
    before, *bad, after = states.found[min(BAD) - 1 : max(BAD) + 2]
    for found in bad:
        assert_equal(found, before)
    assert not any(torch.equal(after[0][name], before[0][name]) for name in before[0])
    assert {int(one["step"]) for one in states.found[-1][1].values()} == {NUM_STEPS - len(BAD)}
