"""Times one train step of our Swin beside others', and beside ours without what makes it fast.

All sides are one network at the start and see the same images and masks. They take turns, A B C,
in one process with the same threads, and no side always follows the same other one. A step is
forward, backward, clipping and fused AdamW, the same for all; loading, and what a trainer does
between steps, is part of none.

python benchmarks/step.py --model swin_base_patch4_window7_224 --batch 8 --sides ours,timm
"""

import argparse
import re
import shlex
import sys
from datetime import date
from pathlib import Path

import torch
from figures import save
from gpu_limits import count_network_flops, matrix_peak
from machine import commit, num_cores
from plain import Plain
from sides import SIDES, build, build_ours, draw_given, missing
from step_memory import Memory, in_own_process, kept_bytes
from step_report import Found, Timed, describe, hardware
from train_step import NotComparable, TrainStep, timed_ms, turns

from ssl_swin.training.trainer import allow_tf32

WARMUP_ROUNDS = 2  # run and not counted; their losses must agree
AGREE = {"fp32": 1e-4, "bf16": 2e-2}  # relative
RESULTS = Path(__file__).parent / "results"


def measure(options: argparse.Namespace) -> Found:
    """Run all rounds.

    Raises:
        NotComparable: If the losses of the first steps differ.
    """
    allow_tf32(False)  # as pretraining has it
    memory = _main_memory(options)
    device, bf16 = torch.device(options.device), options.precision == "bf16"
    with device:
        ours = build_ours(options.model, options.img_size, options.window_size).to(device)
    given = draw_given(ours, options.batch, device)
    steps = {name: TrainStep(build(name, ours, device), given, bf16) for name in options.sides}
    found = Found(ours, {name: Timed(memory=memory.get(name)) for name in steps})
    for number in range(WARMUP_ROUNDS):
        for name, step in steps.items():
            _first_step(name, step, found.sides[name])
        _require_agreement(found, number, AGREE[options.precision])
    before = _peak(options, device)
    for number in range(options.rounds):
        for place in turns(number, len(steps)):
            name = options.sides[place]
            found.sides[name].ms.append(timed_ms(steps[name]))
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    found.peak = max(before, _peak(options, device))
    found.flops = count_network_flops(Plain(ours), given)
    return found


def _main_memory(options: argparse.Namespace) -> dict[str, Memory]:
    """Measure each side by itself, before this process holds them all, unless it is compiled."""
    if not options.memory or options.device != "cpu":
        return {}
    usual = [name for name in options.sides if not SIDES[name].compiled]
    return {name: in_own_process(name, options) for name in usual}


def _first_step(name: str, step: TrainStep, found: Timed) -> None:
    """Take a step that is not timed, for its loss and, on a GPU, its memory."""
    device = step.given.images.device
    on_gpu, before = device.type == "cuda", 0
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    found.first_losses.append(float(step()))
    if on_gpu:
        peak = torch.cuda.max_memory_allocated(device) - before
        found.memory = Memory(None if SIDES[name].compiled else kept_bytes(step), peak)


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
