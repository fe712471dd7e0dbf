"""Shows how far the run is: a bar in a terminal, lines elsewhere."""

import sys
import time
from typing import Any

from pytorch_lightning import Callback, Trainer
from rich import progress
from rich.console import Console

from ssl_swin.training.learner import Learner

PLAIN_EVERY_S = 30.0  # between lines of progress where there is no terminal


class ProgressBar(Callback):
    """Shows loss, images per second and time left, on rank 0."""

    def __init__(self, start_step: int, stop_step: int) -> None:
        self.start_step, self.stop_step = start_step, stop_step
        self._bar: progress.Progress | None = None
        self._plain_at = self._began = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:
        """Show the bar."""
        if not trainer.is_global_zero:
            return
        self._began = self._plain_at = time.monotonic()
        console = Console(stderr=True)
        if not console.is_terminal:
            return
        self._bar = progress.Progress(
            progress.TextColumn("epoch {task.fields[epoch]}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[text]}"),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task(
            "", total=self.stop_step, completed=self.start_step, epoch="", text=""
        )
        self._bar.start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Learner, *_: Any) -> None:
        """Move on."""
        if not trainer.is_global_zero:
            return
        step, schedule = pl_module.step, pl_module.schedule
        seconds = max(time.monotonic() - self._began, 1e-9)
        rate = (step - self.start_step) / seconds
        loss = pl_module.metrics.get("train_loss")  # None until the first point is logged
        shown = "" if loss is None else f"loss {loss:.4f}  "
        bad = pl_module.metrics.get("bad_steps")
        shown += f"{bad} bad steps  " if bad else ""
        text = f"{shown}{rate * schedule.global_batch_size:.0f} images/s"
        epoch = f"{step / schedule.steps_per_epoch:.1f}"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, epoch=epoch, text=text)
        elif time.monotonic() - self._plain_at >= PLAIN_EVERY_S or step == self.stop_step:
            self._plain_at = time.monotonic()
            left = (self.stop_step - step) / rate
            line = f"step {step}/{self.stop_step}  epoch {epoch}  {text}  {left / 60:.1f} min left"
            print(line, file=sys.stderr, flush=True)

    def teardown(self, trainer: Trainer, pl_module: Learner, stage: str) -> None:
        """Remove the bar, also after an error."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
