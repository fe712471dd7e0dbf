"""Times what predicting other things than pixels costs: each target, and a whole step with it.

    python benchmarks/targets.py --save

All are timed in turns, in one process with one thread, on the same noise. The teacher has weights
that are drawn: that changes no time.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import NamedTuple

import torch
from figures import middle_half, save
from machine import commit, num_cores, processor

from ssl_swin.config.data import DataConfig
from ssl_swin.config.model import HeadConfig, ModelConfig, TargetConfig
from ssl_swin.config.run import PretrainConfig
from ssl_swin.models.flops import count_flops
from ssl_swin.models.simmim import SimMIM
from ssl_swin.runs.network import build_simmim

RESULTS = Path(__file__).parent / "results"
PIXELS, HOG = "pixels", "hog"
ROWS: dict[str, dict] = {
    PIXELS: {},
    "normalised_pixels": {"target": TargetConfig("normalised_pixels")},
    "coarse_pixels": {"target": TargetConfig("coarse_pixels")},
    HOG: {"target": TargetConfig(HOG)},
    "teacher": {"target": TargetConfig("teacher")},
    "hog at the last two stages": {"heads": 2},
}
ABOUT = """\
Milliseconds of processor time, which others on the machine move less, for {batch} images of {side}
pixels, float32: the median of {rounds} rounds, and the quartiles; all rows in turns in one process
with one thread. *Of the target*: what is made of the images alone. *Of the step*: forward and
backward of {model}, with target and loss, no optimiser. *Of pixels*: the
median of ratios, round by round. GFLOP are products and attention of such a step of one image,
the teacher's included, as torch counts them; HOG's own sums are none of these. The teacher is
{teacher}, of the same size."""


class Side(NamedTuple):
    """A network with one target, and what was timed of it."""

    model: SimMIM
    gflop: float
    target_ms: list[float]
    step_ms: list[float]


def build(name: str, options: argparse.Namespace) -> Side:
    """Build a row's network."""
    model = ModelConfig(options.model, options.side, window_size=options.window_size)
    config = PretrainConfig("run", DataConfig("images"), model=model)
    change = dict(ROWS[name])
    if name == "teacher":
        change["target"] = replace(change["target"], teacher=f"random:timm:{options.teacher}")
    if "heads" in change:
        change["heads"] = (HeadConfig(3, HOG, "l2"), HeadConfig(4, HOG, "l2"))
    torch.manual_seed(0)
    simmim = build_simmim(replace(config, **change))
    mask = simmim.random_mask(torch.arange(1))
    image = torch.zeros(1, 3, options.side, options.side)
    twin = deepcopy(simmim)
    flops = count_flops(lambda: twin(image, mask).backward())
    return Side(simmim, flops / 1e9, [], [])


def milliseconds(work: Callable[[], object]) -> float:
    """Time one call."""
    began = time.process_time()
    work()
    return 1e3 * (time.process_time() - began)


def measure(sides: dict[str, Side], options: argparse.Namespace) -> None:
    """Time all in turns; the first round is not counted."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(options.batch, 3, options.side, options.side, generator=generator)
    for number in range(options.rounds + 1):
        for model, _, target_ms, step_ms in sides.values():
            mask = model.random_mask(torch.arange(options.batch), epoch=number)
            targets = milliseconds(lambda m=model: [head.target(images) for head in m.heads])
            step = milliseconds(lambda m=model, hidden=mask: m(images, hidden).backward())
            model.zero_grad(set_to_none=True)
            if number:
                target_ms.append(targets)
                step_ms.append(step)


def table(sides: dict[str, Side], options: argparse.Namespace) -> list[str]:
    """Return what was found, as Markdown."""
    head = "| target | of the target, ms | of the step, ms | of pixels | GFLOP |"
    lines = [ABOUT.format(**vars(options)), "", head, "|---|---|---|---|---|"]
    plain = sides[PIXELS].step_ms
    for name, side in sides.items():
        ratios = [mine / pixels for mine, pixels in zip(side.step_ms, plain, strict=True)]
        cells = [middle_half(side.target_ms, 1), middle_half(side.step_ms, 0)]
        lines.append(
            f"| {name} | {' | '.join(cells)} | {middle_half(ratios, 3)} | {side.gflop:.2f} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="swin_tiny_patch4_window7_224")
    parser.add_argument("--teacher", default="swin_tiny_patch4_window7_224")
    parser.add_argument("--side", type=int, default=192)
    parser.add_argument("--window-size", type=int, default=6)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--save", action="store_true", help="into benchmarks/results/")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sides = {name: build(name, options) for name in ROWS}
    measure(sides, options)
    lines = table(sides, options)
    print("\n".join(lines))
    if options.save:
        where = f"{processor()}, {num_cores()} cores, torch {torch.__version__}, {commit()}"
        again = f"To repeat: `python benchmarks/targets.py {shlex.join(sys.argv[1:])}`"
        about = ["# What other targets cost", "", f"{date.today()}, {where}. {again}", ""]
        save(RESULTS / f"targets_{num_cores()}cpu_{date.today()}.md", [*about, *lines])


if __name__ == "__main__":
    main()
