"""Times what looking at features costs: stretches of steps with one look and without, in turns.

python benchmarks/monitor_overhead.py configs/pretrain/demo.yaml --save
"""

import argparse
import os
import shlex
import sys
import tempfile
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
from ssl_swin.runs.build import Run, build
from ssl_swin.training.clock import Clock
from ssl_swin.training.loggers import make_loggers
from ssl_swin.training.monitors import Monitors
from ssl_swin.training.trainer import Hardware, make_trainer

RESULTS = Path(__file__).parent / "results"
EVERY = 20  # steps of a stretch
WARM_UP = 2 * EVERY  # with the look that reads the images


class Stopwatch(Callback):
    """Times stretches, of which every other one ends with a look; the last callback of a step."""

    def __init__(self, monitors: Monitors) -> None:
        self.seconds: dict[bool, list[float]] = {True: [], False: []}
        self.looks: list[float] = []
        self._began = 0.0
        look = monitors.on_train_batch_end

        def timed(trainer: Any, module: Any, *rest: Any) -> None:
            began = spent()
            look(trainer, module, *rest)
            if module.step % (2 * EVERY) == 0:
                self.looks.append(spent() - began)

        monitors.on_train_batch_end = timed

    def on_train_batch_end(self, _trainer: Any, module: Any, *_: Any) -> None:
        if module.step % EVERY:
            return
        now = spent()
        if module.step > WARM_UP:
            self.seconds[module.step % (2 * EVERY) == 0].append(now - self._began)
        self._began = now


def spent() -> float:
    """Return seconds of processor time, of loader processes too, once they have ended."""
    told = os.times()
    return told.user + told.system + told.children_user + told.children_system


def measure(words: list[str], stretches: int) -> tuple[Run, Stopwatch]:
    """Return a run as it would be, and what was found in its first steps."""
    with tempfile.TemporaryDirectory() as place:
        config = read_config("pretrain", [*words, "--training.num-threads=1"])[0]
        run = build(replace(config, run_dir=place))
        assert run.monitored is not None
        stop_step = WARM_UP + 2 * stretches * EVERY
        run.datamodule.steps = (0, stop_step)
        monitors = Monitors(replace(run.monitored, every_steps=2 * EVERY), -1, print)
        watch = Stopwatch(monitors)
        loggers = make_loggers(RunFolder(Path(place)), 0)
        trainer = make_trainer(Hardware("cpu"), [Clock(), monitors, watch], loggers)
        trainer.fit(run.module, datamodule=run.datamodule)
    return run, watch


def spread(values: list[float], form: str) -> str:
    """Return the median, and the least and the most."""
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def page(run: Run, watch: Stopwatch, words: list[str]) -> list[str]:
    """Say what looks cost, as often as this run would look."""
    assert run.monitored is not None
    first, *looks = watch.looks
    with_it, without = watch.seconds[True], watch.seconds[False]
    step = median(without) / EVERY
    every, sets = run.monitored.every_steps, [run.monitored.images, run.monitored.labelled]
    num_images = sum(len(images) for images in sets if images is not None)
    whole = run.sizes.stop_step * step
    shares = [100 * look / (every * step) for look in looks]
    pairs = [100 * (on - off) / (every * step) for on, off in zip(with_it, without, strict=True)]
    quarter = len(pairs) // 4
    return [
        f"# What looking at features costs, on {processor()}, {num_cores()} cores",
        "",
        f"Commit {commit()}, torch {torch.__version__}. To repeat: "
        f"`python benchmarks/monitor_overhead.py {shlex.join(words)}`",
        "",
        f"One process, one thread; processor time, which others on the machine move less (load "
        f"average {os.getloadavg()[0]:.1f}). This run looks at {num_images} images each {every} "
        f"steps of {run.sizes.stop_step}. For this page it looked at the end of every other "
        f"stretch of {EVERY} steps, {len(looks)} times.",
        "",
        f"- a step: {spread([1000 * one / EVERY for one in without], '.1f')} ms",
        f"- a look, timed by itself: {spread(looks, '.3f')} s",
        f"- **of the time from look to look: {spread(shares, '.2f')} %**",
        f"- the same by the difference of neighbouring stretches: {median(pairs):+.2f} %, "
        f"{sorted(pairs)[quarter]:+.2f} to {sorted(pairs)[-1 - quarter]:+.2f} for the middle half",
        f"- the first look of a life reads the images: {first - median(looks):.2f} s more, "
        f"{100 * (first - median(looks)) / whole:.2f} % of the whole run",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="+", help="config and settings, as of `ssl-swin pretrain`")
    parser.add_argument("--stretches", type=int, default=12, help="of each kind")
    parser.add_argument("--save", action="store_true", help="write a file in benchmarks/results")
    given, settings = parser.parse_known_args()
    torch.set_num_threads(1)
    run, watch = measure([*given.words, *settings], given.stretches)
    text = "\n".join(page(run, watch, sys.argv[1:])) + "\n"
    print(text)
    if given.save:
        name = f"monitor_overhead_{Path(given.words[0]).stem}_{num_cores()}cpu"
        (RESULTS / f"{name}_{date.today().isoformat()}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
