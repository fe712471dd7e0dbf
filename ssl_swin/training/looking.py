"""What callbacks share that look at a network between two steps: when, which ranks, and how."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pytorch_lightning import Trainer

from ssl_swin.training.fsdp import is_sharded
from ssl_swin.training.learner import Learner


def is_due(step: int, every_steps: int, stop_step: int) -> bool:
    """Whether to look after this step: every so many, never at 0, and where the run ends."""
    return step == stop_step or bool(every_steps and step % every_steps == 0)


def takes_part(trainer: Trainer) -> bool:
    """Whether this rank looks: rank 0 does, and all must if each has a part of the weights."""
    return trainer.is_global_zero or is_sharded(trainer)


@contextmanager
def looking(trainer: Trainer, module: Learner) -> Iterator[None]:
    """Set the network to eval, without gradients, in the run's precision; then as it was."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad(), trainer.precision_plugin.val_step_context():
            yield
    finally:
        module.train(was_training)
