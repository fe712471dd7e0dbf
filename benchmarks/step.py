"""Times one train step: this package's, beside timm's Swin trained in the most ordinary way.

Both start from the same weights and see the same images and masks, in turns (A B A B ...), in one
process with the same threads. Ours is the real one: PretrainModule in the Trainer, from uint8
images, with its mask drawing, normalisation, clipping and all that Lightning does between steps.
The plain one is handed float images and ready masks. Loading and copying to the device is part of
neither.
"""
# ruff: noqa: ARG002 (Lightning's hooks have fixed parameters)

import argparse
import platform
import re
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import timm
import torch
from machine import commit, num_cores, processor
from plain import CLIP_GRAD, LR, WEIGHT_DECAY, Plain, PlainTraining
from pytorch_lightning import Callback, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from ssl_swin.config.data import IMAGENET_MEAN, IMAGENET_STD
from ssl_swin.data.batches.batch import Batch
from ssl_swin.models.encoder import build_encoder
from ssl_swin.models.masking import grid, to_pixels, to_tokens
from ssl_swin.models.normalise import Normalisation
from ssl_swin.models.simmim import SimMIM
from ssl_swin.training.curve import LearningRateCurve
from ssl_swin.training.learner import Schedule
from ssl_swin.training.pretrain import Masking, PretrainModule
from ssl_swin.training.trainer import Hardware, make_trainer

WARMUP_ROUNDS = 2  # run and not counted
RESULTS = Path(__file__).parent / "results"

# The encoder of configs/pretrain/demo.yaml, with colours: seconds on one core.
DEMO = {
    "name": "swin_tiny_patch4_window7_224",
    "img_size": 32,
    "window_size": 8,
    "embed_dim": 48,
    "depths": (2, 2),
    "num_heads": (3, 6),
}


@dataclass
class Side:
    """What was measured of one of the two: each round's ms and loss, and memory in MiB."""

    ms: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    peak_mib: float = 0.0


class Rounds(Callback):
    """Takes a plain step after each of ours, and times both."""

    def __init__(self, make_plain: Callable[[], PlainTraining]) -> None:
        self.make_plain = make_plain
        self.ours, self.plain = Side(), Side()

    def on_train_start(self, trainer: Trainer, pl_module: PretrainModule) -> None:
        self._plain = self.make_plain()  # here, where our weights have come to the device
        self._start()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: PretrainModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert pl_module.result is not None
        self._stop(self.ours, pl_module.result.loss)
        self._start()
        self._stop(self.plain, self._plain.step())
        self._start()

    def _start(self) -> None:
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self._allocated = torch.cuda.memory_allocated()
        self._began = time.perf_counter()

    def _stop(self, side: Side, loss: Tensor) -> None:
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        side.ms.append(1000 * (time.perf_counter() - self._began))
        side.loss.append(float(loss))
        if torch.cuda.is_initialized():
            peak = torch.cuda.max_memory_allocated() - self._allocated
            side.peak_mib = max(side.peak_mib, peak / 2**20)


def build_ours(options: argparse.Namespace) -> PretrainModule:
    """Build the module as `ssl_swin/build.py` does, without data."""
    torch.manual_seed(0)
    sizes = {"name": options.model} if options.model != "demo" else dict(DEMO)
    given = {"img_size": options.img_size, "window_size": options.window_size}
    sizes.update({name: value for name, value in given.items() if value is not None})
    encoder = build_encoder(in_chans=3, **sizes)
    mask_patch_size = encoder.stride
    schedule = Schedule(
        seed=0,
        global_batch_size=options.batch,
        steps_per_epoch=sys.maxsize,  # one epoch: the masks stay what they are
        num_micro_batches=1,
        curve=LearningRateCurve(total_steps=sys.maxsize, base_lr=LR),
        weight_decay=WEIGHT_DECAY,
        betas=(0.9, 0.999),
        clip_grad=CLIP_GRAD,
    )
    return PretrainModule(
        SimMIM(encoder, mask_patch_size),
        Normalisation(IMAGENET_MEAN, IMAGENET_STD),
        Masking(mask_patch_size, grid(encoder.img_size, mask_patch_size), 0.6, seed=0),
        schedule,
    )


def build_plain(ours: PretrainModule, batch: Batch, bf16: bool) -> PlainTraining:
    """Build the plain training from our start weights, images and masks."""
    device = batch["image"].device
    mask, size = ours.masking.draw(batch["index"], 0), ours.masking.mask_patch_size
    ready = (
        ours.normalise(batch["image"]),
        to_tokens(mask, size // ours.network.encoder.patch_size).float(),
        to_pixels(mask, size).float(),
    )
    return PlainTraining(Plain(ours.network).to(device), ready, bf16)


def measure(options: argparse.Namespace) -> tuple[PretrainModule, Rounds]:
    """Run all rounds; the counted ones are left.

    Raises:
        ValueError: If the first losses differ: then the two do not do the same.
    """
    ours, bf16 = build_ours(options), options.precision == "bf16"
    generator = torch.Generator().manual_seed(0)
    shape = (options.batch, 3, *ours.network.encoder.img_size)
    batch = {
        "image": torch.randint(256, shape, generator=generator, dtype=torch.uint8),
        "index": torch.arange(options.batch),
        "epoch": torch.zeros(options.batch, dtype=torch.int64),
    }
    batch = {name: value.to(options.device) for name, value in batch.items()}
    rounds = Rounds(lambda: build_plain(ours, batch, bf16))
    accelerator = "gpu" if options.device == "cuda" else "cpu"
    trainer = make_trainer(Hardware(accelerator, precision=options.precision), [rounds], [])
    steps: Any = [batch] * (WARMUP_ROUNDS + options.rounds)
    trainer.fit(ours, train_dataloaders=DataLoader(steps, batch_size=None))
    first = rounds.ours.loss[0], rounds.plain.loss[0]
    if abs(first[0] - first[1]) > (2e-2 if bf16 else 1e-4) * first[1]:
        raise ValueError(f"the first losses differ, so the times cannot be compared: {first}")
    for side in (rounds.ours, rounds.plain):
        del side.ms[:WARMUP_ROUNDS]
    return ours, rounds


def describe(options: argparse.Namespace, ours: PretrainModule, rounds: Rounds) -> list[str]:
    """Say what came out, as lines of Markdown."""
    ratios = [b / a for a, b in zip(rounds.ours.ms, rounds.plain.ms, strict=True)]
    parameters = sum(p.numel() for p in ours.network.parameters()) / 1e6
    speeds = {
        name: options.batch / median(side.ms) * 1000
        for name, side in (("ours", rounds.ours), ("plain", rounds.plain))
    }
    lines = [
        "| round | ours, ms | plain timm, ms | plain / ours |",
        "|---|---|---|---|",
    ]
    for number, row in enumerate(zip(rounds.ours.ms, rounds.plain.ms, ratios, strict=True)):
        lines.append(f"| {number} | {row[0]:.1f} | {row[1]:.1f} | {row[2]:.3f} |")
    encoder = ours.network.encoder
    lines += [
        "",
        f"- plain / ours: median {median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}; "
        "above 1, ours is faster",
        f"- images/s, from the median step: ours {speeds['ours']:.1f}, plain {speeds['plain']:.1f}",
        f"- model: {options.model}, {encoder.img_size[0]} px, window {encoder.window_size}, "
        f"{parameters:.2f} M parameters with the decoder",
        f"- batch {options.batch}, {options.precision}, {options.threads} CPU threads",
        f"- first loss: ours {rounds.ours.loss[0]:.6f}, plain {rounds.plain.loss[0]:.6f}",
        f"- peak memory: {_memory(options, rounds)}",
        f"- torch {torch.__version__}, timm {timm.__version__}, Python {platform.python_version()}",
    ]
    return lines


def _memory(options: argparse.Namespace, rounds: Rounds) -> str:
    if options.device == "cuda":
        return (
            "on top of weights and optimiser, "
            f"ours {rounds.ours.peak_mib:.0f} MiB, plain {rounds.plain.peak_mib:.0f} MiB"
        )
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{kib / 1024:.0f} MiB, the whole process with both"


def hardware(options: argparse.Namespace) -> str:
    """Name what it ran on."""
    if options.device == "cuda":
        return torch.cuda.get_device_name()
    return f"{processor()}, {options.threads} threads"


def save(options: argparse.Namespace, lines: list[str]) -> Path:
    """Write the results to their file, with the command that repeats them."""
    slug = re.sub(r"[^a-z0-9]+", "-", hardware(options).lower()).strip("-")
    path = RESULTS / f"step_{slug}_{date.today().isoformat()}.md"
    flags = {name: value for name, value in vars(options).items() if name != "save"}
    command = " ".join(
        f"--{name.replace('_', '-')} {value}" for name, value in flags.items() if value is not None
    )
    head = [
        f"# Train step on {hardware(options)}",
        "",
        f"Commit {commit()}. To repeat: `python benchmarks/step.py {command}`",
        "",
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
    return path


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", default="swin_tiny_patch4_window7_224", help="timm name of a Swin, or demo"
    )
    parser.add_argument("--img-size", type=int, help="pixels; 192, or 32 for demo")
    parser.add_argument("--window-size", type=int, help="tokens; 6, or 4 for demo")
    parser.add_argument("--batch", type=int, default=8, help="images of one step")
    parser.add_argument("--rounds", type=int, default=8, help="counted steps of each")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=num_cores(), help="CPU threads; all cores")
    parser.add_argument("--save", action="store_true", help="write a file in benchmarks/results")
    options = parser.parse_args(arguments)
    if options.model != "demo":
        options.img_size = options.img_size or 192
        options.window_size = options.window_size or 6
    if options.batch < 1 or options.rounds < 1 or options.threads < 1:
        parser.error("--batch, --rounds and --threads must be 1 or more")
    return options


def main() -> None:
    options = parse(sys.argv[1:])
    torch.set_num_threads(options.threads)
    ours, rounds = measure(options)
    lines = describe(options, ours, rounds)
    print("\n".join([f"train step on {hardware(options)}", "", *lines]))
    if options.save:
        print(f"saved: {save(options, lines)}")


if __name__ == "__main__":
    main()
