"""What `step.py` found, as a page."""

import argparse
import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

import torch
from figures import middle_half, quartiles
from gpu_limits import published_peak
from machine import processor
from sides import SIDES
from step_memory import Memory

from ssl_swin.models.simmim import SimMIM

REFERENCE = "timm"  # ratios are its time over a side's


@dataclass
class Timed:
    """What was measured of one side: ms of each counted round, losses of the others."""

    ms: list[float] = field(default_factory=list)
    first_losses: list[float] = field(default_factory=list)
    memory: Memory | None = None


@dataclass
class Found:
    """All that was measured."""

    ours: SimMIM
    sides: dict[str, Timed]
    peak: float = 0.0  # FLOP/s of a large matrix product, before or after all rounds
    flops: int = 0  # of a step, counted once: all sides compute the same


def describe(options: argparse.Namespace, found: Found) -> list[str]:
    """Say what came out, as lines of Markdown."""
    beside = REFERENCE if REFERENCE in found.sides else options.sides[-1]
    lines = [
        f"| side | ms | {beside} / side | images/s | GFLOP/s | MFU | kept, MiB | peak, MiB |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(name, found, beside, options) for name in found.sides),
        "",
        f"- ms and ratios: medians, with the quartiles of {options.rounds} rounds; a ratio is of "
        "two steps of one round, and above 1 the side is faster",
        *(f"- {name}: {SIDES[name].told}" for name in found.sides),
        *(f"- {name} was left out: {one} is not installed" for name, one in options.left_out),
        *_about(options, found),
        "",
        f"| round, ms | {' | '.join(found.sides)} |",
        "|---|" + "---|" * len(found.sides),
    ]
    for number in range(options.rounds):
        cells = " | ".join(f"{side.ms[number]:.1f}" for side in found.sides.values())
        lines.append(f"| {number} | {cells} |")
    return lines


def _row(name: str, found: Found, beside: str, options: argparse.Namespace) -> str:
    side = found.sides[name]
    ratios = [a / b for a, b in zip(found.sides[beside].ms, side.ms, strict=True)]
    step_s = quartiles(side.ms)[1] / 1000
    kept = peak = ""
    if side.memory is not None:
        kept, peak = ("" if num is None else f"{num / 2**20:.1f}" for num in side.memory)
    flops = found.flops / step_s
    share = f"{flops / (_published(options) or found.peak):.1%}"
    return (
        f"| {name} | {middle_half(side.ms, 1)} | {middle_half(ratios, 3)} | "
        f"{options.batch / step_s:.1f} | {flops / 1e9:.1f} | {share} | {kept} | {peak} |"
    )


def _published(options: argparse.Namespace) -> float | None:
    return published_peak(torch.device(options.device)) if options.precision == "bf16" else None


def _about(options: argparse.Namespace, found: Found) -> list[str]:
    """Say what was timed, and what the columns are."""
    encoder, published = found.ours.encoder, _published(options)
    parameters = sum(p.numel() for p in found.ours.parameters()) / 1e6
    firsts = [side.first_losses for side in found.sides.values()]
    losses = [losses[-1] for losses in firsts]
    peak = f"{found.peak / 1e9:.1f} GFLOP/s of a large matrix product in this run"
    if published:
        peak = f"{published / 1e9:.0f} GFLOP/s of the data sheet; measured {peak}"
    where = (
        "on top of all weights and optimisers"
        if options.device == "cuda"
        else "resident memory of a process with this side alone"
    )
    return [
        f"- GFLOP/s: {found.flops / 1e9:.1f} GFLOP a step, of products and attention, counted on "
        f"timm's; MFU: over {peak}",
        "- kept: what the forward keeps for the backward, beside parameters and images; peak: "
        f"{where}",
        f"- model: {options.model}, {encoder.img_size[0]} px, window "
        f"{encoder.architecture()['window_size']}, {parameters:.2f} M parameters with the decoder",
        f"- batch {options.batch}, {options.precision}, {options.threads} CPU threads; losses of "
        f"step {len(firsts[0])}: {min(losses):.6f} to {max(losses):.6f}",
        f"- {', '.join(_versions())}, Python {platform.python_version()}",
    ]


def _versions() -> list[str]:
    found = []
    for name in ("torch", "timm", "transformers"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return found


def hardware(options: argparse.Namespace) -> str:
    """Name what it ran on."""
    if options.device == "cuda":
        return torch.cuda.get_device_name()
    return f"{processor()}, {options.threads} threads"
