"""Shows how far the run is: a bar in a terminal, lines elsewhere."""

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from pytorch_lightning import Callback, Trainer
from rich import progress
from rich.console import Console

from ssl_swin.data.batches.batch import Batch
from ssl_swin.phases import Phase, duration, tell
from ssl_swin.training.learner import Learner

PLAIN_EVERY_S = 30.0  # between lines of progress where there is no terminal
BAR_EVERY_S = 2.0  # between two losses in a terminal; each waits for the device
SHORTEST_S = 120.0  # over which the time left is foretold, if a life has lasted so long
RECENT_S = 60.0  # over which the speed is told
_MARK_EVERY_S = 1.0


def images_per_s(rate: float) -> str:
    """Return a rate for people."""
    return f"{rate:,.0f} images/s" if rate >= 10 else f"{rate:.2g} images/s"


class Pace:
    """How fast steps are taken: in the last minute, and over the last half of a life.

    Of the half, two minutes at least, measuring and saving count as they come, and what a machine
    did before that is forgotten. The first step of a life sets up libraries and counts for nothing.
    """

    def __init__(self) -> None:
        self._marks: deque[tuple[float, float]] = deque()  # seconds and steps done
        self._began = 0.0
        self._last = 0.0, 0.0

    def mark(self, seconds: float, step: float) -> None:
        """Note that so many steps are done; the first call is after the first step."""
        self._last = seconds, step
        if not self._marks:
            self._began = seconds
        elif seconds - self._marks[-1][0] < _MARK_EVERY_S:
            return
        self._marks.append(self._last)
        oldest = seconds - max(SHORTEST_S, (seconds - self._began) / 2)
        while len(self._marks) > 1 and self._marks[1][0] <= oldest:
            self._marks.popleft()

    @property
    def steps_per_s(self) -> float | None:
        """Steps per second, by which the time left is foretold; None after one step."""
        return self._since(self._marks[0])

    @property
    def recent(self) -> float | None:
        """Steps per second of the last minute; None after one step."""
        since, newest_first = self._last[0] - RECENT_S, reversed(self._marks)
        return self._since(next((one for one in newest_first if one[0] <= since), self._marks[0]))

    def _since(self, mark: tuple[float, float]) -> float | None:
        (began, first), (seconds, step) = mark, self._last
        return (step - first) / (seconds - began) if seconds > began else None


class ProgressBar(Callback):
    """Shows the loss of a step, images per second and time left, on rank 0.

    The loss is that of rank 0's images, as large as if all were alike. It is asked for only when it
    is shown, because that waits for the device.

    Args:
        start_step: Steps done before this life.
        stop_step: The step the run ends at.
        starting: Is over when the first step is done.
        clock: Seconds; those of a suspended job need not count.
    """

    def __init__(
        self,
        start_step: int,
        stop_step: int,
        starting: Phase | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.start_step, self.stop_step = start_step, stop_step
        self.starting, self.clock = starting, clock
        self.pace, self.work = Pace(), Pace()  # of steps, and of what they take
        self._bar: progress.Progress | None = None
        self._shown_at = self._began = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:
        """Show the bar."""
        if self.starting is not None:
            self.starting.doing = "the first step"
        if not trainer.is_global_zero:
            return
        self._began = self.clock()
        console = Console(stderr=True)
        if not console.is_terminal:
            return
        self._bar = progress.Progress(
            progress.TextColumn("epoch {task.fields[epoch]}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[text]}"),
            console=console,
            redirect_stdout=sys.stdout.isatty(),  # else it is a file, and its lines belong there
        )
        self._task = self._bar.add_task(
            "", total=self.stop_step, completed=self.start_step, epoch="", text="the first step"
        )
        self._bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Move on, and show what is due."""
        step, now = pl_module.step, self.clock()
        self.pace.mark(now, step)
        self.work.mark(now, pl_module.work(step))
        if self.starting is not None:
            self.starting.end()
        if not trainer.is_global_zero:
            return
        if self._bar is not None:
            self._bar.update(self._task, completed=step)
        every_s = PLAIN_EVERY_S if self._bar is None else BAR_EVERY_S
        is_first = step == self.start_step + 1
        if is_first or step == self.stop_step or now - self._shown_at >= every_s:
            self._shown_at = now
            self._show(pl_module, len(batch["index"]), now)

    def teardown(self, trainer: Trainer, pl_module: Learner, stage: str) -> None:
        """Remove the bar, also after an error."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show(self, module: Learner, share_size: int, now: float) -> None:
        step, schedule = module.step, module.schedule
        epoch = f"{step / schedule.steps_per_epoch:.1f}"
        assert module.result is not None
        loss = float(module.result.loss) * schedule.global_batch_size / max(1, share_size)
        bad = module.metrics.get("bad_steps")
        text = f"loss {loss:.4f}  " + (f"{bad} bad steps  " if bad else "")
        rate, recent = self.work.steps_per_s, self.pace.recent
        if rate is None or recent is None:
            text += f"the first step took {duration(now - self._began)}"
        else:
            left = duration((module.work(self.stop_step) - module.work(step)) / rate)
            text += f"{images_per_s(recent * schedule.global_batch_size)}  {left} left"
        if self._bar is not None:
            self._bar.update(self._task, epoch=epoch, text=text)
        else:
            line = f"step {step}/{self.stop_step}  epoch {epoch}  {text}"
            tell(line, sys.stderr)
