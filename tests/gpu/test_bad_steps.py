"""A step that is not finite changes nothing, and no step waits for the device to know it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.utils.data import DataLoader

from ssl_swin.training.learner import Learner
from ssl_swin.training.trainer import Hardware, make_trainer
from tests.gpu.device import ACCELERATOR, DEVICE, ON_GPU
from tests.training.test_bad_steps import FAULTS, States, broken
from tests.training.test_interruption import assert_equal
from tests.training.tiny import batches, learner

BAD, NUM_STEPS = {3, 4}, 7


@contextmanager
def no_waits() -> Iterator[None]:
    """Let what waits for the GPU raise; nothing tells on the CPU."""
    if ON_GPU:
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if ON_GPU:
            torch.cuda.set_sync_debug_mode("default")


def without_waits(module: Learner) -> Learner:
    """Let each step but the first raise where it waits; that one sets up libraries."""
    take = module.training_step

    def training_step(batch: object, batch_idx: int) -> None:
        if module.step == 0:
            take(batch, batch_idx)
        else:
            with no_waits():
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


@pytest.mark.skipif(not ON_GPU, reason="needs 1 GPU: on the CPU nothing is waited for")
def test_a_wait_is_found_by_that():
    with pytest.raises(RuntimeError, match=r"(?i)synchroniz"), no_waits():
        torch.ones(1, device=DEVICE).item()
