"""Times what comes between two steps: a model of one parameter, images of four pixels, real rest.

python benchmarks/overhead.py --processes 1 2 4 8 --save
"""

import argparse
import json
import multiprocessing
import os
import platform
import shlex
import socket
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from machine import commit, num_cores, processor
from pytorch_lightning import Callback
from torch import Tensor, nn

from ssl_swin import signals
from ssl_swin.data.order.lanes import Share
from ssl_swin.data.order.one_set import SetOrder
from ssl_swin.data.shards.local import LocalShards
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.models.normalise import Normalisation
from ssl_swin.record.owner import Ownership
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training.bad_samples import BadSamples
from ssl_swin.training.bad_steps import BadSteps
from ssl_swin.training.checkpoint import Checkpoints
from ssl_swin.training.checkpoint_writer import CheckpointWriter
from ssl_swin.training.clock import Clock, DataWait
from ssl_swin.training.curve import LearningRateCurve
from ssl_swin.training.datamodule import StreamModule
from ssl_swin.training.learner import Learner, Schedule
from ssl_swin.training.life_record import LifeRecord
from ssl_swin.training.loggers import Ledger, Scalars, make_loggers
from ssl_swin.training.measurement import Measurement
from ssl_swin.training.preemption import Meeting
from ssl_swin.training.progress import ProgressBar
from ssl_swin.training.trainer import Hardware, make_trainer
from ssl_swin.training.watchdog import Watchdog

RESULTS = Path(__file__).parent / "results"
SHARDS, GLOBAL_BATCH, LOG_EVERY = np.full(1000, 1281), 256, 20  # the size of ImageNet
WARMUP_STEPS = 60
HOUR = timedelta(hours=1)
PARTS = {
    "agreeing": ("Meeting", "BadSamples", "BadSteps"),
    "logging": ("Scalars", "ProgressBar", "Clock", "DataWait", "Measurement"),
    "order-keeping": ("SetOrder", "Ledger"),
    "watching, saving": ("Watchdog", "Checkpoints"),
}
SUM = "agreeing, logging, order-keeping"
# How ranks agree: as the package does, and, on 2 processes, with Lightning's broadcast, too.
MODES = ("ours", "ours, and Lightning's")

seconds: dict[str, float] = defaultdict(float)  # spent in this stretch, by class


def timed(name: str, function: Callable) -> Callable:
    def call(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        result = function(*args, **kwargs)
        seconds[name] += time.perf_counter() - began
        return result

    return call


class OneParameter(Learner):
    """A model that costs nothing."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.network.parameters()), "name": "all"}]

    def loss(self, micro: dict[str, Tensor]) -> Tensor:  # noqa: ARG002
        return self.network(torch.ones(1, 1)).sum() / self.schedule.global_batch_size

    def measure(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG002
        return {}


class NoImages:
    """Batches with every field and almost no pixels."""

    shards = ShardSet(LocalShards((), ()))

    def __len__(self) -> int:
        return int(SHARDS.sum())

    def __getitems__(self, share: Share) -> dict[str, Tensor]:
        num = len(share.index)
        return {
            "image": torch.zeros(num, 1, 2, 2, dtype=torch.uint8),
            "index": torch.from_numpy(share.index),
            "epoch": torch.full((num,), share.epoch),
            "replaced": torch.full((num,), -1),
        }


class Stopwatch(Callback):
    """Times stretches from one logged point to the next, after the warm-up."""

    def __init__(self) -> None:
        self.stretches: list[dict[str, float]] = []  # milliseconds per step
        self._began = 0.0

    def on_train_batch_end(self, _trainer: Any, module: Learner, *_: Any) -> None:
        if module.step < WARMUP_STEPS or (module.step - WARMUP_STEPS) % LOG_EVERY:
            return
        now = time.perf_counter()
        if self._began:
            spent = {**seconds, "in all": now - self._began}
            self.stretches.append({name: 1000 * s / LOG_EVERY for name, s in spent.items()})
        seconds.clear()
        self._began = time.perf_counter()


def callbacks(folder: RunFolder, stop_step: int) -> list[Callback]:
    """What `life.py` puts between two steps, in its order."""
    clock, ownership = Clock(), Ownership(folder.owner)
    meeting = Meeting(stop_step, 3600.0, HOUR)
    object.__setattr__(meeting, "go_on", timed("Meeting", meeting.go_on))
    record = LifeRecord(folder, 1, ownership, lambda: None)
    watchdog = Watchdog(1800.0, record)
    stream: Any = NoImages()
    writer = CheckpointWriter(folder, ownership.require, background=False)
    saving = Checkpoints(writer, meeting, 0, 0, {}, print)
    measurement, bar = Measurement(10**9, 10**9, saving.save_early), ProgressBar(0, stop_step)
    samples = BadSamples(folder, stream, 0.01, (LOG_EVERY, 1000), meeting)
    steps = BadSteps(10, (LOG_EVERY, 1000), meeting)
    scalars, ledger = Scalars(LOG_EVERY, clock), Ledger(record)
    counting = [ledger, meeting, samples, steps, scalars, measurement]
    listed = [watchdog, *counting, saving, bar, DataWait(0), clock]
    for callback in listed:
        hook = callback.on_train_batch_end
        callback.on_train_batch_end = timed(type(callback).__name__, hook)
    return listed


def run(run_dir: str, steps: int, mode: str, environment: dict[str, str]) -> None:
    """Train in this process, and leave the times in the run folder."""
    os.environ |= environment
    signals.watch()
    torch.set_num_threads(1)
    folder, world_size = RunFolder(Path(run_dir)), int(environment["WORLD_SIZE"])
    order: Any = SetOrder(SHARDS, 0, GLOBAL_BATCH, 64, 4096)
    curve = LearningRateCurve(steps, 1e-3, "cosine", 10, 1e-6, 1e-5)
    schedule = Schedule(0, GLOBAL_BATCH, order.steps_per_epoch, 1, curve, 0.05, (0.9, 0.999), 5.0)
    module = OneParameter(nn.Linear(1, 1, bias=False), Normalisation((0.5,), (0.5,)), schedule)
    stream: Any = NoImages()
    object.__setattr__(order, "share", timed("SetOrder", order.share))
    datamodule = StreamModule(stream, order, None, (0, steps), num_workers=0)
    stopwatch = Stopwatch()
    listed = callbacks(folder, steps)
    trainer = make_trainer(
        Hardware("cpu", world_size), [*listed, stopwatch], make_loggers(folder, 0), HOUR
    )
    datamodule.meeting = listed[2]  # type: ignore[assignment]
    if mode == "ours, and Lightning's":
        del trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor
    watchdog: Any = listed[0]
    watchdog.start()
    trainer.fit(module, datamodule=datamodule)
    watchdog.stop()
    if trainer.is_global_zero:
        (folder.root / "times.json").write_text(json.dumps(stopwatch.stretches))


def measure(num_processes: int, mode: str, steps: int) -> list[dict[str, float]]:
    """Return milliseconds per step on rank 0, in all and by part, of each stretch."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ssl_swin.runs.life"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as run_dir:
        processes = []
        for rank in range(num_processes):
            environment = {
                "LOCAL_RANK": str(rank),
                "NODE_RANK": "0",
                "WORLD_SIZE": str(num_processes),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            }
            process = context.Process(target=run, args=(run_dir, steps, mode, environment))
            process.start()
            processes.append(process)
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            raise RuntimeError(f"{num_processes} processes, {mode}: a process failed")
        return [by_part(one) for one in json.loads((Path(run_dir) / "times.json").read_text())]


def by_part(stretch: dict[str, float]) -> dict[str, float]:
    """Add up what belongs together; the rest is the step itself, and Lightning."""
    found = {part: sum(stretch.get(name, 0.0) for name in names) for part, names in PARTS.items()}
    three = sum(list(found.values())[:3])
    rest = stretch["in all"] - sum(found.values())
    return {**found, "step and Lightning": rest, "in all": stretch["in all"], SUM: three}


def table(options: argparse.Namespace) -> list[str]:
    """Measure everything in rounds, and return Markdown."""
    found: dict[tuple[int, str], list[dict[str, float]]] = defaultdict(list)
    for _ in range(options.rounds):
        for num_processes in options.processes:
            for mode in options.modes if num_processes == 2 else options.modes[:1]:
                found[num_processes, mode] += measure(num_processes, mode, options.steps)
    names = [*PARTS, "step and Lightning", "in all", SUM]
    lines = [
        f"| processes | how ranks agree | {' | '.join(names)} |",
        "|---|---|" + "---|" * len(names),
    ]
    for (num_processes, mode), stretches in found.items():
        cells = []
        for name in names:
            values = sorted(one[name] for one in stretches)
            cell = f"{median(values):.2f}"
            if name == SUM:
                quarter = len(values) // 4
                cell += f" ({values[quarter]:.2f} to {values[-1 - quarter]:.2f})"
            cells.append(cell)
        lines.append(f"| {num_processes} | {mode} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="write a file in benchmarks/results")
    options = parser.parse_args()
    if options.steps < WARMUP_STEPS + 2 * LOG_EVERY:
        parser.error(f"--steps must be {WARMUP_STEPS + 2 * LOG_EVERY} or more: one stretch to time")
    lines = table(options)
    head = [
        f"# Between two steps, on {processor()}, {num_cores()} cores",
        "",
        f"Commit {commit()}, torch {torch.__version__}, Python "
        f"{platform.python_version()}. To repeat: `python benchmarks/overhead.py "
        f"{shlex.join(sys.argv[1:])}`",
        "",
        f"Milliseconds per step on rank 0: medians over stretches of {LOG_EVERY} steps, from one "
        f"logged point to the next, {options.rounds} rounds of {options.steps} steps; the middle "
        f"half of the stretches in brackets. Order of {SHARDS.sum()} images in {len(SHARDS)} "
        f"shards, global batch {GLOBAL_BATCH}, with the ledger. Load average of the machine at the "
        f"end: {os.getloadavg()[0]:.1f}.",
        "",
    ]
    text = "\n".join([*head, *lines])
    print(text)
    if options.save:
        path = RESULTS / f"overhead_{num_cores()}cpu_{date.today().isoformat()}.md"
        path.write_text(text + "\n", encoding="utf-8")
        print(f"saved: {path}")


if __name__ == "__main__":
    main()
