"""Times how the cost of our Swin grows: with the image, with the batch, on more processes.

Attention within windows costs what the image has in pixels; a ViT's, of all patches to all, the
square of that. Swin and ViT have twelve blocks, and half the width of a Swin-T and a ViT-S.

python benchmarks/scaling.py --plot scaling.svg --save
"""

import argparse
import math
import os
import platform
import re
import shlex
import sys
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch
from figures import save
from machine import commit, num_cores, processor
from pieces import in_processes
from scaling_area import WARMUP, costs, describe, plot, seconds, swin
from sides import draw_given
from torch.distributed import destroy_process_group, init_process_group
from torch.nn.parallel import DistributedDataParallel
from train_step import TrainStep

from ssl_swin.models.simmim import SimMIM

RESULTS = Path(__file__).parent / "results"
STRIDE = 32  # pixels, of the Swin's last stage: sizes are multiples of it


def pretraining(options: argparse.Namespace, batch: int, device: torch.device) -> TrainStep:
    """Build a step of SimMIM at the size at which batch and processes vary."""
    encoder = swin(options, options.at)
    network = SimMIM(encoder, encoder.stride).to(device)
    return TrainStep(network, draw_given(network, batch, device))


def by_batch(options: argparse.Namespace) -> list[str]:
    """Time steps of more and more images, in turns."""
    device = torch.device(options.device)
    steps = {batch: pretraining(options, batch, device) for batch in options.batches}
    times: dict[int, list[float]] = {batch: [] for batch in steps}
    for _ in range(WARMUP + options.rounds):
        for batch, step in steps.items():
            times[batch].append(seconds(step, device))
    lines = ["| images of a step | ms | images/s |", "|---|---|---|"]
    for batch, each in times.items():
        step_s = median(each[WARMUP:])
        lines.append(f"| {batch} | {1000 * step_s:.1f} | {batch / step_s:.1f} |")
    return lines


def by_processes(options: argparse.Namespace) -> list[str]:
    """Time steps of processes that add up their gradients, each with as many images."""
    lines = ["| processes | ms | images/s | efficiency |", "|---|---|---|---|"]
    alone = 0.0  # images/s of a process of the first row
    for num in options.processes:
        if options.device == "cuda" and num > torch.cuda.device_count():
            lines.append(f"| {num} | not measured: {torch.cuda.device_count()} GPUs | | |")
            continue
        step_s = median(in_processes(_train, num, options)[WARMUP:])
        each = options.images_per_process / step_s
        alone = alone or each
        lines.append(f"| {num} | {1000 * step_s:.1f} | {num * each:.1f} | {each / alone:.0%} |")
    return lines


def _train(rank: int, num: int, port: int, options: argparse.Namespace, found: Any) -> None:
    torch.set_num_threads(1)
    device = torch.device(options.device, rank if options.device == "cuda" else None)
    backend = "nccl" if options.device == "cuda" else "gloo"
    init_process_group(backend, f"tcp://127.0.0.1:{port}", world_size=num, rank=rank)
    step = pretraining(options, options.images_per_process, device)
    step.network = DistributedDataParallel(step.network)
    times = [seconds(step, device) for _ in range(WARMUP + options.rounds)]
    if rank == 0:
        found.put(times)
    destroy_process_group()


def hardware(options: argparse.Namespace) -> str:
    """Name what it ran on."""
    return torch.cuda.get_device_name() if options.device == "cuda" else processor()


def about(options: argparse.Namespace) -> list[str]:
    """Say what was timed, and how to do it again."""
    return [
        f"# How cost grows, on {hardware(options)}",
        "",
        f"Commit {commit()}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{num_cores()} cores, {options.threads} threads, load average {os.getloadavg()[0]:.1f}. "
        f"To repeat: `{shlex.join(['python', 'benchmarks/scaling.py', *sys.argv[1:]])}`",
        "",
        f"Medians of {options.rounds} steps in float32, in turns. Swin: {options.swin_dim} "
        "channels in the first stage, 2, 2, 6, 2 blocks. ViT: timm's, "
        f"{options.vit_dim} channels, 12 blocks, attention by one kernel of torch.",
        "",
    ]


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = [64, 128, 256, 384, 512]
    parser.add_argument("--img-size", type=int, nargs="+", default=sizes, help="pixels to a side")
    parser.add_argument("--images", type=int, default=1, help="of a step, where the size varies")
    parser.add_argument("--window-size", type=int, default=8, help="tokens; of the Swin")
    parser.add_argument("--swin-dim", type=int, default=48, help="channels of its first stage")
    parser.add_argument("--vit-dim", type=int, default=192, help="channels of the ViT")
    parser.add_argument("--patches", type=int, nargs="+", default=[16, 8], help="its, pixels")
    parser.add_argument("--at", type=int, default=128, help="pixels, where batch or processes vary")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4], help="a thread each")
    parser.add_argument("--images-per-process", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5, help="counted steps of each")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=num_cores(), help="CPU threads; all cores")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the cost by area")
    parser.add_argument("--save", action="store_true", help="write a file in benchmarks/results")
    options = parser.parse_args(arguments)
    counts = [options.images, options.images_per_process, options.rounds, options.threads]
    if min(*counts, *options.batches, *options.processes, *options.patches) < 1:
        parser.error("images, batches, processes, patches, rounds and threads must be 1 or more")
    whole = math.lcm(STRIDE, *options.patches)
    if any(side < whole or side % whole for side in options.img_size):
        parser.error(f"--img-size must be multiples of {whole}")
    if options.at < 2 * STRIDE or options.at % STRIDE:
        parser.error(f"--at must be a multiple of {STRIDE}, and more than one: masks hide a part")
    options.img_size = sorted(set(options.img_size))
    return options


def main() -> None:
    options = parse(sys.argv[1:])
    torch.set_num_threads(options.threads)
    found = costs(options)
    size = f"{options.at} x {options.at} pixels, SimMIM"
    parts = {
        "With the image": describe(found),
        f"With the batch: {size}": by_batch(options),
        f"On processes of one thread, {options.images_per_process} images each: {size}": (
            by_processes(options)
        ),
    }
    lines = about(options)
    for title, part in parts.items():
        lines += [f"## {title}", "", *part, ""]
    print("\n".join(lines))
    if options.plot:
        options.plot.write_text(plot(found), encoding="utf-8")
    if options.save:
        slug = re.sub(r"[^a-z0-9]+", "-", hardware(options).lower()).strip("-")
        save(RESULTS / f"scaling_{slug}_{date.today()}.md", lines)


if __name__ == "__main__":
    main()
