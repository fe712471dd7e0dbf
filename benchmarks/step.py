"""Times one train step of our Swin beside others', and beside ours without what makes it fast.

All sides are one network at the start and see the same images and masks. They take turns, A B C,
in one process with the same threads, and no side always follows the same other one. A step is
forward, backward, clipping and fused AdamW, the same for all; loading, and what a trainer does
between steps, is part of none.

python benchmarks/step.py --model swin_base_patch4_window7_224 --batch 8 --sides ours,timm
"""

import argparse
import platform
import re
import shlex
import sys
import time
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from figures import middle_half, quartiles, save
from gpu_limits import count_network_flops, matrix_peak, published_peak, synchronize
from machine import commit, num_cores, processor
from plain import Plain
from sides import SIDES, build, build_ours, draw_given, missing
from step_memory import Memory, in_own_process, kept_bytes
from train_step import NotComparable, TrainStep

from ssl_swin.models.simmim import SimMIM

WARMUP_ROUNDS = 2  # run and not counted; their losses must agree
AGREE = {"fp32": 1e-4, "bf16": 2e-2}  # relative
RESULTS = Path(__file__).parent / "results"
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


def turns(number: int, count: int) -> list[int]:
    """Return the order of sides in a round; over `2 * count` rounds each follows all others alike.

    Source:
        Williams (1949), designs balanced for what is left of the treatment before.
    """
    first = [(place + 1) // 2 if place % 2 else -(place // 2) for place in range(count)]
    order = [(place + number) % count for place in first]
    return order[::-1] if number // count % 2 else order


def measure(options: argparse.Namespace) -> Found:
    """Run all rounds.

    Raises:
        NotComparable: If the losses of the first steps differ.
    """
    memory = _main_memory(options)
    device, bf16 = torch.device(options.device), options.precision == "bf16"
    with device:
        ours = build_ours(options.model, options.img_size, options.window_size).to(device)
    given = draw_given(ours, options.batch, device)
    steps = {name: TrainStep(build(name, ours, device), given, bf16) for name in options.sides}
    found = Found(ours, {name: Timed(memory=memory.get(name)) for name in steps})
    for number in range(WARMUP_ROUNDS):
        for name, step in steps.items():
            _take(step, found.sides[name], device, counts=False)
        _require_agreement(found, number, AGREE[options.precision])
    before = _peak(options, device)
    for number in range(options.rounds):
        for place in turns(number, len(steps)):
            name = options.sides[place]
            _take(steps[name], found.sides[name], device, counts=True)
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    found.peak = max(before, _peak(options, device))
    found.flops = count_network_flops(Plain(ours), given)
    return found


def _main_memory(options: argparse.Namespace) -> dict[str, Memory]:
    """Measure each side by itself, before this process holds them all."""
    if not options.memory or options.device != "cpu":
        return {}
    return {name: in_own_process(name, options) for name in options.sides}


def _take(step: TrainStep, side: Timed, device: torch.device, counts: bool) -> None:
    """Take a step; it is timed if it counts, else its loss is kept, and on a GPU its memory."""
    before = _reset_peak(device)
    synchronize(device)
    began = time.perf_counter()
    loss = step()
    synchronize(device)
    if counts:
        side.ms.append(1000 * (time.perf_counter() - began))
        return
    side.first_losses.append(float(loss))
    if device.type == "cuda":
        side.memory = Memory(kept_bytes(step), torch.cuda.max_memory_allocated(device) - before)


def _reset_peak(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _require_agreement(found: Found, number: int, tolerance: float) -> None:
    losses = {name: side.first_losses[number] for name, side in found.sides.items()}
    first = next(iter(losses.values()))
    if any(not abs(loss - first) <= tolerance * first for loss in losses.values()):
        said = ", ".join(f"{name} {loss:.6f}" for name, loss in losses.items())
        raise NotComparable(
            f"losses of step {number + 1} differ, so the times cannot be compared: {said}"
        )


def _peak(options: argparse.Namespace, device: torch.device) -> float:
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    side = 8192 if device.type == "cuda" else 2048 if options.model != "demo" else 256
    return matrix_peak(device, dtype, side, times=2)


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
        kept, peak = (f"{num / 2**20:.1f}" for num in side.memory)
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
    losses = [side.first_losses[-1] for side in found.sides.values()]
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
        f"step {WARMUP_ROUNDS}: {min(losses):.6f} to {max(losses):.6f}",
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


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", default="swin_tiny_patch4_window7_224", help="timm name of a Swin, or demo"
    )
    parser.add_argument("--img-size", type=int, help="pixels; 192, or 32 for demo")
    parser.add_argument("--window-size", type=int, help="tokens; 6, or 4 for demo")
    parser.add_argument("--batch", type=int, default=8, help="images of one step")
    parser.add_argument("--rounds", type=int, default=8, help="counted steps of each side")
    parser.add_argument(
        "--sides", help=f"of {', '.join(SIDES)}; without it, all that are not compiled"
    )
    parser.add_argument("--precision", choices=tuple(AGREE), default="fp32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=num_cores(), help="CPU threads; all cores")
    parser.add_argument(
        "--memory",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="on a CPU, measure each side's memory first, in a process of its own",
    )
    parser.add_argument("--save", action="store_true", help="write a file in benchmarks/results")
    options = parser.parse_args(arguments)
    if options.model != "demo":
        options.img_size = options.img_size or 192
        options.window_size = options.window_size or 6
    if options.batch < 1 or options.rounds < 1 or options.threads < 1:
        parser.error("--batch, --rounds and --threads must be 1 or more")
    _choose_sides(parser, options)
    return options


def _choose_sides(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Have what was asked for, each once; else all that can be timed without waiting."""
    asked = options.sides.split(",") if options.sides is not None else []
    options.left_out = []
    if unknown := [name for name in asked if name not in SIDES]:
        parser.error(f"--sides: no {', '.join(unknown)}; there are {', '.join(SIDES)}")
    if lacking := [(name, one) for name in asked if (one := missing(name))]:
        name, one = lacking[0]
        parser.error(f"--sides: {name} needs {one}, which is not installed: pip install {one}")
    if options.sides is None:
        usual = [name for name, side in SIDES.items() if not side.asked_for]
        options.left_out = [(name, one) for name in usual if (one := missing(name))]
        asked = [name for name in usual if not missing(name)]
    options.sides = list(dict.fromkeys(asked))


def main() -> None:
    options = parse(sys.argv[1:])
    torch.set_num_threads(options.threads)
    try:
        found = measure(options)
    except NotComparable as error:
        sys.exit(f"{Path(__file__).name}: error: {error}")
    lines = describe(options, found)
    command = f"python benchmarks/step.py {shlex.join(sys.argv[1:])}".rstrip()
    head = [
        f"# Train step on {hardware(options)}",
        "",
        f"Commit {commit()}. To repeat: `{command}`",
    ]
    lines = [*head, "", *lines]
    print("\n".join(lines))
    if options.save:
        slug = re.sub(r"[^a-z0-9]+", "-", f"{options.model} {hardware(options)}".lower()).strip("-")
        save(RESULTS / f"step_{slug}_{date.today().isoformat()}.md", lines)


if __name__ == "__main__":
    main()
