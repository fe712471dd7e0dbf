"""What an image costs a Swin and a ViT, by its area, for `scaling.py`."""

import argparse
import math
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import timm
import torch
from gpu_limits import count_network_flops, synchronize
from line_plot import growth
from torch import Tensor, nn
from train_step import Given, TrainStep

from ssl_swin.models.blocks import fuse_attention
from ssl_swin.models.encoder import build_encoder

WARMUP = 1  # steps that are not counted


class Cost(NamedTuple):
    """Of one image of one size."""

    side: int  # pixels
    flops: float  # of a forward: matrix products and attention
    forward_s: float
    step_s: float


class Encoded(nn.Module):
    """An encoder with a loss that costs next to nothing."""

    def __init__(self, encoder: nn.Module, encode: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.encoder, self.encode = encoder, encode

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG002
        """Return the loss; nothing is hidden."""
        return self.encode(images).float().square().mean()


def swin(options: argparse.Namespace, side: int) -> Any:
    """Build our Swin."""
    encoder: Any = build_encoder(
        "swin_tiny_patch4_window7_224",
        side,
        in_chans=3,
        window_size=options.window_size,
        embed_dim=options.swin_dim,
    )
    fuse_attention(encoder, options.device == "cuda")
    return encoder


def vit(options: argparse.Namespace, side: int, patch_size: int) -> Any:
    """Build timm's ViT, whose attention is fused."""
    return timm.create_model(
        "vit_tiny_patch16_224",
        img_size=side,
        patch_size=patch_size,
        embed_dim=options.vit_dim,
        num_classes=0,
    )


def build_all(options: argparse.Namespace, side: int) -> dict[str, Encoded]:
    """Build what is compared, by name; the first is ours."""
    ours = swin(options, side)
    found = {f"Swin, window {options.window_size}": Encoded(ours, ours)}
    for patch in options.patches:
        theirs = vit(options, side, patch)
        found[f"ViT, patch {patch}"] = Encoded(theirs, theirs.forward_features)
    return found


def costs(options: argparse.Namespace) -> dict[str, list[Cost]]:
    """Time and count all networks at all sizes."""
    found: dict[str, list[Cost]] = {}
    for side in options.img_size:
        for name, cost in costs_at(options, side).items():
            found.setdefault(name, []).append(cost)
        print(f"{side} pixels to a side", file=sys.stderr, flush=True)
    return found


def costs_at(options: argparse.Namespace, side: int) -> dict[str, Cost]:
    """Time all networks in turns at one size, and count what they compute."""
    device = torch.device(options.device)
    images = torch.randn(options.images, 3, side, side, device=device)
    given = Given(images, torch.zeros(0, device=device))
    steps = {
        name: TrainStep(network.to(device), given)
        for name, network in build_all(options, side).items()
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for _ in range(WARMUP + options.rounds):
        for name, step in steps.items():
            with torch.no_grad():
                forward_s = seconds(step.loss, device)
            times[name].append((forward_s, seconds(step, device)))
    found = {}
    for name, step in steps.items():
        forward_s, step_s = map(median, zip(*times[name][WARMUP:], strict=True))
        fuse_attention(step.network, False)  # type: ignore[arg-type]  # counted as written
        flops = count_network_flops(step.network, given) / 3 / options.images
        found[name] = Cost(side, flops, forward_s / options.images, step_s / options.images)
    return found


def seconds(act: Callable[[], Any], device: torch.device) -> float:
    """Time one call."""
    synchronize(device)
    began = time.perf_counter()
    act()
    synchronize(device)
    return time.perf_counter() - began


def power(smaller: Cost, larger: Cost, what: str) -> float:
    """Return the power of the area with which a cost grows."""
    grown = getattr(larger, what) / getattr(smaller, what)
    return math.log(grown) / (2 * math.log(larger.side / smaller.side))


def describe(found: dict[str, list[Cost]]) -> list[str]:
    """Say what an image costs, and how that grows."""
    lines = [
        "| network | pixels | GFLOP, forward | FLOP a pixel | forward, ms | train step, ms |",
        "|---|---|---|---|---|---|",
    ]
    for name, rows in found.items():
        for cost in rows:
            lines.append(
                f"| {name} | {cost.side} x {cost.side} | {cost.flops / 1e9:.3f} | "
                f"{cost.flops / cost.side**2:.0f} | {1000 * cost.forward_s:.1f} | "
                f"{1000 * cost.step_s:.1f} |"
            )
    lines.append("")
    for name, rows in found.items():
        if rows[1:]:
            flops, step = (power(*rows[-2:], what) for what in ("flops", "step_s"))
            lines.append(
                f"- {name}: from {rows[-2].side} to {rows[-1].side} pixels to a side, FLOPs grow "
                f"with the area to the power of {flops:.2f}, the time of a step to {step:.2f}"
            )
    return lines


def plot(found: dict[str, list[Cost]]) -> str:
    """Draw time and FLOPs over the pixels, as multiples of the Swin's at the smallest image."""
    first, series = next(iter(found.values()))[0], {}
    for name, rows in found.items():
        series[f"{name}: time of a train step"] = [
            (cost.side, cost.step_s / first.step_s) for cost in rows
        ]
        series[f"{name}: FLOPs"] = [(cost.side, cost.flops / first.flops) for cost in rows]
    title = f"Cost of an image, times the Swin's of {first.side} x {first.side} pixels"
    return growth(title, "pixels to a side", series)
