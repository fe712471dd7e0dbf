"""Losses of a training in bf16 beside one in float32, for `gpu.py`."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from gpu_steps import NAMES, Case
from sides import build_ours
from torch.nn import functional as F
from train_step import Given, TrainStep

from ssl_swin.models.blocks import fuse_attention

STRETCH = 20  # steps whose losses are averaged before they are compared
BATCH = 16
PATCHES = 6  # colours to a side that an image is made of


class Curves(NamedTuple):
    """The loss of each step, from the same weights and of the same images."""

    float32: list[float]
    bf16: list[float]
    others: list[float]  # in float32 with other masks: what chance does

    @property
    def apart(self) -> float:
        """The largest distance of bf16 from float32, of stretches."""
        return _apart(self.bf16, self.float32)

    @property
    def noise(self) -> float:
        """The same of two trainings in float32."""
        return _apart(self.others, self.float32)


def train_all(case: Case, device: torch.device, steps: int) -> Curves:
    """Train ours three times: in float32 by steps as written, in bf16 as pretraining does."""
    exact = replace(case, precision="fp32", fused=False)
    return Curves(
        float32=_losses(exact, device, steps, seed=0),
        bf16=_losses(replace(case, precision="bf16", fused=True), device, steps, seed=0),
        others=_losses(exact, device, steps, seed=1),
    )


def table(curves: Curves) -> list[str]:
    """Say the losses by stretch."""
    lines = [
        f"Means of {STRETCH} steps of {BATCH} images, which are random colours that run into one "
        "another. bf16 as pretraining computes it; float32 with attention in steps.",
        "",
        "| steps | float32 | bf16 | float32, other masks |",
        "|---|---|---|---|",
    ]
    columns = [list(_stretches(losses)) for losses in curves]
    for number, row in enumerate(zip(*columns, strict=True)):
        cells = " | ".join(f"{loss:.4f}" for loss in row)
        lines.append(f"| {number * STRETCH} to {(number + 1) * STRETCH - 1} | {cells} |")
    return lines


def _losses(case: Case, device: torch.device, steps: int, seed: int) -> list[float]:
    with device:
        ours = build_ours(NAMES[case.size], case.img_size, case.window_size)
    fuse_attention(ours.encoder, case.fused)
    generator = torch.Generator().manual_seed(0)
    step = TrainStep(ours.to(device).train(), Given(torch.empty(0), torch.empty(0)))
    step.bf16 = case.precision == "bf16"
    losses = []
    for number in range(steps):
        colours = torch.randn(case.batch, 3, PATCHES, PATCHES, generator=generator).to(device)
        images = F.interpolate(colours, ours.encoder.img_size, mode="bicubic")
        index = torch.arange(case.batch, device=device) + number * case.batch
        step.given = Given(images, ours.random_mask(index, seed=seed))
        losses.append(step())
    return torch.stack(losses).tolist()


def _stretches(losses: list[float]) -> Iterator[float]:
    for first in range(0, len(losses), STRETCH):
        stretch = losses[first : first + STRETCH]
        yield sum(stretch) / len(stretch)


def _apart(one: list[float], other: list[float]) -> float:
    pairs = zip(_stretches(one), _stretches(other), strict=True)
    return max(abs(a - b) for a, b in pairs)
