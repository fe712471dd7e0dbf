"""Times what TensorBoard and the points cost: stretches of steps with them and without, in turns.

python benchmarks/board_overhead.py configs/pretrain/demo.yaml --save
"""

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch
from machine import commit, num_cores, processor
from pytorch_lightning import Callback

from ssl_swin.command_line import read_config
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs.build import build
from ssl_swin.training.bias_tables import BiasTables
from ssl_swin.training.clock import Clock
from ssl_swin.training.loggers import Scalars, make_loggers
from ssl_swin.training.norms import Norms, StepNorms
from ssl_swin.training.panels import Panels
from ssl_swin.training.projector import Projector
from ssl_swin.training.trainer import Hardware, make_trainer

RESULTS = Path(__file__).parent / "results"
EVERY = 20  # steps between points, the default of `training.log_every_steps`
WARM_UP = 2 * EVERY
HOOKS = ("on_train_batch_start", "on_train_batch_end")
AT_PANELS = (Panels, BiasTables, Projector)


class InTurns(Callback):
    """Lets callbacks act in every other stretch of `EVERY` steps; the last callback of a step."""

    def __init__(self, callbacks: list[Callback]) -> None:
        self.on, self.seconds = False, defaultdict[bool, list[float]](list)
        self.spent, self.shares = 0.0, list[float]()  # by what acts, in a stretch; of its time
        self._began = 0.0
        for one in callbacks:
            for name in HOOKS:
                setattr(one, name, self._if_on(getattr(one, name)))
        for name in ("before", "after"):
            inside = getattr(StepNorms, name)
            setattr(StepNorms, name, self._if_on(inside))

    def _if_on(self, hook: Any) -> Any:
        def call(*given: Any) -> None:
            if self.on:
                began = time.process_time()
                hook(*given)
                self.spent += time.process_time() - began

        return call

    def on_train_batch_end(self, _trainer: Any, module: Any, *_: Any) -> None:
        if module.step % EVERY:
            return
        now = time.process_time()
        if module.step > WARM_UP:
            self.seconds[self.on].append((now - self._began) / EVERY)
            if self.on:
                self.shares.append(self.spent / (now - self._began))
        self.spent = 0.0
        self.on, self._began = not self.on, now


def measure(path: str, stretches: int) -> tuple[InTurns, dict[str, float]]:
    """Return the stretches, and seconds of what the end brings."""
    with tempfile.TemporaryDirectory() as place:
        config = read_config("pretrain", [path, "--training.num-threads=1"])[0]
        folder = RunFolder(Path(place))
        run = build(replace(config, run_dir=place))
        stop_step = WARM_UP + stretches * EVERY
        run.datamodule.steps = (0, stop_step)
        clock, last = Clock(), dict[str, float]()
        points: list[Callback] = [Scalars(EVERY, clock), Norms(EVERY)]
        turns = InTurns(points)
        panels = [Panels(folder, 0, stop_step), BiasTables(0, stop_step), Projector(stop_step)]
        for one in panels:
            one.on_train_batch_end = timed(one, last)
        trainer = make_trainer(
            Hardware("cpu"), [*points, clock, turns, *panels], make_loggers(folder, 0)
        )
        trainer.fit(run.module, datamodule=run.datamodule)
    return turns, last


def timed(callback: Any, found: dict[str, float]) -> Any:
    hook = callback.on_train_batch_end

    def call(*given: Any) -> None:
        began = time.process_time()
        hook(*given)
        found[type(callback).__name__] = time.process_time() - began

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("--stretches", type=int, default=24)
    parser.add_argument("--save", action="store_true", help="write a file in benchmarks/results")
    given = parser.parse_args()
    torch.set_num_threads(1)
    turns, last = measure(given.config, given.stretches)
    with_them, without = turns.seconds[True], turns.seconds[False]
    ratios = sorted(on / off - 1 for on, off in zip(with_them, without, strict=False))
    quarter = len(ratios) // 4
    lines = [
        f"# What points cost, on {processor()}, {num_cores()} cores",
        "",
        f"Commit {commit()}, torch {torch.__version__}. To repeat: "
        f"`python benchmarks/board_overhead.py {shlex.join(sys.argv[1:])}`",
        "",
        f"`{given.config}`, one process, one thread. Stretches of {EVERY} steps with points, norms "
        f"and event files, and without, in turns, {len(ratios)} of each; processor time, "
        f"which others on the machine move less (load average {os.getloadavg()[0]:.1f}). "
        f"**Of a stretch with points, {100 * median(turns.shares):.2f} % is spent on them** "
        f"({100 * min(turns.shares):.2f} to {100 * max(turns.shares):.2f} %), timed by themselves.",
        "",
        "| | ms a step |",
        "|---|---|",
        f"| without | {1000 * median(without):.2f} |",
        f"| with | {1000 * median(with_them):.2f} |",
        "",
        f"Neighbouring stretches: {100 * median(ratios):+.2f} % in the median, "
        f"{100 * ratios[quarter]:+.2f} to {100 * ratios[-1 - quarter]:+.2f} % for the middle half.",
        "",
        "At the end, once: "
        + ", ".join(f"{name} {took:.2f} s" for name, took in last.items())
        + ".",
    ]
    text = "\n".join(lines)
    print(text)
    if given.save:
        path = RESULTS / f"board_overhead_{num_cores()}cpu_{date.today().isoformat()}.md"
        path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
