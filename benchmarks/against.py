"""Times what a training process waits for, beside another checkout of this repository, in turns.

Two things: streaming, on one thread, and a fine-tuning step with erasing, mixup and CutMix, of a
network so small that what is around it shows. Each side is a process that waits for its turn, A B A
B, a batch each, so that a busy machine slows both. What runs in both checkouts is `build` and what
it returns.

Usage: python benchmarks/against.py --out FOLDER [--checkout FOLDER] [--save FILE.md]
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from figures import save, spread
from machine import commit, num_cores, processor
from photographs import add_options
from pytorch_lightning import Callback

from ssl_swin.config.data import LabelledDataConfig
from ssl_swin.config.model import ModelConfig
from ssl_swin.config.optim import FinetuneOptimConfig
from ssl_swin.config.run import FinetuneConfig
from ssl_swin.config.training import TrainingConfig
from ssl_swin.runs.build import Run, build
from ssl_swin.training.trainer import Hardware, make_trainer

WARMUP_TURNS = 2  # of each side, not counted
MARK = "turn:"  # before what a side has to say of its turn
# 14 x 14 tokens of few features: a tenth of a step or less
SMALL = ModelConfig(
    "swin_tiny_patch4_window7_224",
    img_size=224,
    patch_size=16,
    window_size=7,
    embed_dim=8,
    depths=(1,),
    num_heads=(1,),
)
TASKS = {  # what is timed -> name of a function here, and its erasing
    "streaming, a batch": ("stream", 0.25),
    "fine-tuning with erasing, a batch": ("finetune", 0.25),
    "fine-tuning with every image erased, a batch": ("finetune", 1.0),
    "fine-tuning without erasing, a batch": ("finetune", 0.0),
}


def take_turn(ms: dict[str, float]) -> None:
    """Say how long the last turn took, and wait for the next; end when there is none."""
    print(MARK, json.dumps(ms), flush=True)
    if not sys.stdin.readline():
        os._exit(0)


def stream(run: Run) -> None:
    take_turn({})
    for step in itertools.count():
        began = time.perf_counter()
        run.stream.__getitems__(run.order.share(step))
        take_turn({"in all": 1000 * (time.perf_counter() - began)})


class Turns(Callback):
    """Times each step and the wait for its batch, and takes turns."""

    def on_train_start(self, *_: Any) -> None:
        take_turn({})
        self._began = time.perf_counter()

    def on_train_batch_start(self, *_: Any) -> None:
        self._loaded = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        now = time.perf_counter()
        step_ms, all_ms = 1000 * (now - self._loaded), 1000 * (now - self._began)
        take_turn({"the step": step_ms, "in all": all_ms})
        self._began = time.perf_counter()


def finetune(run: Run) -> None:
    make_trainer(Hardware("cpu"), [Turns()], []).fit(run.module, datamodule=run.datamodule)


def take_turns(options: argparse.Namespace) -> None:
    """Build a run of this checkout, and do one of the two with it, a turn after the other."""
    alone: dict[str, Any] = {"rand_augment": "", "num_workers": 0, "num_lanes": 1}
    optim = FinetuneOptimConfig(epochs=1000, warmup_epochs=1)
    training = TrainingConfig(options.batch, options.micro_batch, accelerator="cpu")
    with tempfile.TemporaryDirectory() as folder:
        for tar in options.out.absolute().glob("originals/*.tar"):  # without the other's indexes
            os.symlink(tar, Path(folder, tar.name))
        data = LabelledDataConfig(folder, erasing=options.erasing, **alone)
        run_dir = str(Path(folder, "run"))
        config = FinetuneConfig(
            run_dir, data, num_classes=1000, model=SMALL, optim=optim, training=training
        )
        {"stream": stream, "finetune": finetune}[options.turn](build(config))


def side(checkout: Path, task: str, erasing: float, options: argparse.Namespace) -> Iterator[dict]:
    """Yield what each turn of a side took; it works only when it is asked."""
    sizes = ["--batch", str(options.batch), "--micro-batch", str(options.micro_batch)]
    command = [sys.executable, __file__, "--out", str(options.out), *sizes]
    command += ["--turn", task, "--erasing", str(erasing)]
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(MARK):
                if said := json.loads(line.removeprefix(MARK)):
                    yield said
                process.stdin.write("\n")
                process.stdin.flush()
    raise RuntimeError(f"{checkout}, {task}: a side ended")


def rounds(
    task: str, erasing: float, checkouts: dict[str, Path], options: argparse.Namespace
) -> list[dict[str, dict[str, float]]]:
    """Return the counted rounds: by side, what its turn took, ms."""
    sides = {name: side(path, task, erasing, options) for name, path in checkouts.items()}
    found = [
        {name: next(turns) for name, turns in sides.items()}
        for _ in range(WARMUP_TURNS + options.rounds)
    ]
    for turns in sides.values():
        turns.close()  # type: ignore[attr-defined]
    return found[WARMUP_TURNS:]


def table(checkouts: dict[str, Path], options: argparse.Namespace) -> list[str]:
    """Time everything, and return Markdown."""
    lines = [
        "| what | side | ms: median (least to most) | before / now, by round |",
        "|---|---|---|---|",
    ]
    for what, (task, erasing) in TASKS.items():
        found = rounds(task, erasing, checkouts, options)
        for part in found[0]["now"]:
            for name in checkouts:
                ms = [one[name][part] for one in found]
                ratios = [one["before"][part] / one["now"][part] for one in found if len(one) > 1]
                ratio = spread(ratios) if ratios and name == "now" else ""
                lines.append(f"| {what}: {part} | {name} | {spread(ms)} | {ratio} |")
    return lines


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--checkout", type=Path, help="another checkout, from before")
    parser.add_argument("--batch", type=int, default=128, help="images of a turn")
    parser.add_argument("--micro-batch", type=int, default=128, help="images")
    parser.add_argument("--rounds", type=int, default=8, help="counted turns of each")
    parser.add_argument("--save", type=Path, help="Markdown file to write")
    parser.add_argument("--turn", choices=("stream", "finetune"), help=argparse.SUPPRESS)
    parser.add_argument("--erasing", type=float, default=0.25, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not 0 < options.batch <= options.images or options.rounds < 1:
        parser.error("--batch must be 1 to --images, --rounds 1 or more")
    return options


def main() -> None:
    options = parse(sys.argv[1:])
    torch.set_num_threads(1)
    if options.turn:
        take_turns(options)
        return
    from shards import prepare  # here, for it may not run in another checkout

    about = prepare(options)
    checkouts = {"now": Path(__file__).parents[1]}
    if options.checkout is not None:
        checkouts = {"before": options.checkout} | checkouts
    before = os.getloadavg()[0]
    lines = table(checkouts, options)
    load = f"load average {before:.1f} at the start, {os.getloadavg()[0]:.1f} at the end"
    head = [
        f"# Beside another checkout, on {processor()}, {num_cores()} cores",
        "",
        f"Commit {commit()}, torch {torch.__version__}, one thread; {options.rounds} rounds in "
        f"turns; batches of {options.batch} in micro-batches of {options.micro_batch}; {load}.",
        "",
        *about,
        "",
    ]
    print("\n".join([*head, *lines]))
    if options.save is not None:
        save(options.save, [*head, *lines])


if __name__ == "__main__":
    main()
