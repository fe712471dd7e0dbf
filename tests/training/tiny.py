"""A tiny pretraining in this process, for tests of what happens in a step and between two."""

from collections.abc import Sequence

import torch
from pytorch_lightning import Callback
from pytorch_lightning.loggers import Logger
from torch import Tensor
from torch.utils.data import DataLoader

from ssl_swin.config.run import RunConfig
from ssl_swin.models.normalise import Normalisation
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.runs.build import Run, build
from ssl_swin.training.curve import LearningRateCurve
from ssl_swin.training.learner import Learner, Schedule
from ssl_swin.training.masks import Masking
from ssl_swin.training.pretrain import PretrainModule
from ssl_swin.training.trainer import Hardware, make_trainer

BATCH = 8
SIZES = {"img_size": 16, "window_size": 4, "embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2)}


def schedule(num_micro_batches: int = 1, base_lr: float = 1e-3) -> Schedule:
    """Four steps an epoch, forty in all."""
    curve = LearningRateCurve(40, base_lr)
    return Schedule(0, BATCH, 4, num_micro_batches, curve, 0.05, (0.9, 0.999), 5.0)


def learner(
    num_micro_batches: int = 1, base_lr: float = 1e-3, drop_path_rate: float = 0.0
) -> PretrainModule:
    """Return SimMIM on grey images of 16 pixels, in float64, always with the same weights."""
    torch.manual_seed(0)
    encoder = SwinEncoder(
        "swin_tiny_patch4_window7_224", in_chans=1, drop_path_rate=drop_path_rate, **SIZES
    )
    module = PretrainModule(
        SimMIM(encoder, 8),
        Normalisation((0.5,), (0.5,)),
        Masking(8, (2, 2), 0.5, seed=0),
        schedule(num_micro_batches, base_lr),
    )
    return module.double()


def batches(num_steps: int, num: int = BATCH) -> list[dict[str, Tensor]]:
    """Return batches of different images, none of which stands in for another."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (num_steps, num, 1, 16, 16), generator=generator)
    return [
        {
            "image": images[step].to(torch.uint8),
            "index": torch.arange(step * num, (step + 1) * num),
            "epoch": torch.full((num,), step // 4),
            "replaced": torch.full((num,), -1),
            "ids": torch.arange(step * num, (step + 1) * num),
        }
        for step in range(num_steps)
    ]


def fit(
    module: Learner,
    num_steps: int,
    *callbacks: Callback,
    precision: str = "fp64",
    loggers: Sequence[Logger] = (),
    first: int = 0,
) -> None:
    """Take so many steps on one process, from the batch number `first`."""
    images = DataLoader(batches(first + num_steps)[first:], batch_size=None)
    trainer = make_trainer(Hardware("cpu", precision=precision), list(callbacks), list(loggers))
    trainer.fit(module, train_dataloaders=images)


def built(config: RunConfig) -> Run:
    """Build a run, from its checkpoint if it has one."""
    return build(config)
