"""What happens between two steps, in this order: ledger, measurement, scalars, progress, clock."""

import os
import sys
import time
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ssl_swin.record.run_folder import RunFolder, append_line
from ssl_swin.training.datamodule import StreamModule
from ssl_swin.training.learner import Learner
from ssl_swin.training.trainer import say
from ssl_swin.training.watchdog import beat

PLAIN_EVERY_S = 30.0  # between lines of progress where there is no terminal


class Ledger(Callback):
    """Writes which images each step used, after the step."""

    def __init__(self, folder: RunFolder, life: int) -> None:
        self.folder, self.life = folder, life

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Append this rank's line; steps count from 0."""
        line = {
            "life": self.life,
            "step": pl_module.step - 1,
            "rank": trainer.global_rank,
            "ids": batch["index"].tolist(),
        }
        append_line(self.folder.ledger(trainer.global_rank), line)


class Measure(Callback):
    """Measures held-out images; every rank reads its part, and only sums and counts are shared."""

    def __init__(self, every_steps: int, stop_step: int) -> None:
        self.every_steps, self.stop_step = every_steps, stop_step
        self._num_told = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure if it is time, or if the run ends here."""
        if pl_module.step % self.every_steps == 0 or pl_module.step == self.stop_step:
            measured, num_bad = measure(trainer, pl_module)
            if "top1" in measured:
                best = max(measured["top1"], pl_module.metrics.get("best_top1", 0.0))
                measured["best_top1"] = best
            pl_module.metrics.update(measured)
            points = {f"heldout/{name}": value for name, value in measured.items()}
            if num_bad:
                points["heldout/bad_samples"] = num_bad
            if num_bad > self._num_told:
                say(
                    f"warning: {num_bad} held-out images cannot be decoded and are left out of the "
                    "measurement; ssl-swin shards verify names them"
                )
                self._num_told = num_bad
            log(trainer, points)


def measure(trainer: Trainer, module: Learner) -> tuple[dict[str, float], int]:
    """Return the means over the held-out images, and how many of these cannot be decoded.

    Every rank gets the same; nothing if there are no held-out images.
    """
    datamodule = trainer.datamodule
    assert isinstance(datamodule, StreamModule)
    loader = datamodule.heldout_dataloader()
    if loader is None:
        return {}, 0
    sums: dict[str, torch.Tensor] = {}
    num_measured = num_left_out = 0
    module.eval()
    with torch.no_grad(), trainer.precision_plugin.val_step_context():
        for batch in loader:
            good = batch["replaced"] < 0
            num_good, num = int(good.sum()), len(good)
            if 0 < num_good < num:  # what stands in for a bad one is measured in its own place
                batch = {name: value[good] for name, value in batch.items()}
            batch = {name: value.to(module.device) for name, value in batch.items()}
            for name, value in module.measure(batch).items():
                sums[name] = sums.get(name, 0) + (value if num_good else torch.zeros_like(value))
            num_measured, num_left_out = num_measured + num_good, num_left_out + num - num_good
            beat()
    module.train()
    counts = torch.tensor([num_measured, num_left_out], dtype=torch.float64, device=module.device)
    return _means(trainer, sums, counts)


def _means(
    trainer: Trainer, sums: dict[str, torch.Tensor], counts: torch.Tensor
) -> tuple[dict[str, float], int]:
    """Add up over the ranks; a rank without images knows no names, so rank 0 tells them."""
    names = trainer.strategy.broadcast(list(sums))
    parts = torch.stack([*counts, *(sums.get(name, torch.zeros_like(counts[0])) for name in names)])
    num_good, num_bad, *total = trainer.strategy.reduce(parts, reduce_op="sum")
    means = {name: float(value / num_good) for name, value in zip(names, total, strict=True)}
    return means, int(num_bad)


class Clock(Callback):
    """Times steps and the waiting for data; last of all callbacks, so that it sees only the loader.

    Attributes:
        step_s: Seconds since the last reset.
        wait_s: Of these, seconds the loader was waited for.
        num_steps: Steps since the last reset.
        last_step_s: Seconds of the last step, with its wait.
    """

    def __init__(self) -> None:
        self.last_step_s, self._last = 0.0, time.perf_counter()
        self.reset()

    def reset(self) -> None:
        """Start counting anew."""
        self.wait_s, self.num_steps = 0.0, 0
        self._began = self._mark = time.perf_counter()

    @property
    def step_s(self) -> float:
        """Seconds since the last reset."""
        return time.perf_counter() - self._began

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:
        """Start with the first wait."""
        self.reset()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Learner, batch: Any, batch_idx: int
    ) -> None:
        """End of a wait."""
        self.wait_s += time.perf_counter() - self._mark
        self.num_steps += 1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Start of a wait."""
        self._mark = time.perf_counter()
        self.last_step_s, self._last = self._mark - self._last, self._mark


class DataWait(Clock):
    """Says in words, once in a life, that training waits for data, and what to change.

    Args:
        num_workers: Loader processes of each training process.
        num_steps: Steps that are looked at together; those of the start are passed over.
        share: Of their time, waiting from which on there is something to say.
    """

    def __init__(self, num_workers: int, num_steps: int = 100, share: float = 0.25) -> None:
        super().__init__()
        self.num_workers, self.window, self.share = num_workers, num_steps, share
        self._warm = self._said = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the last steps when there are enough of them."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self._said or self.num_steps < self.window:
            return
        waited = self.wait_s / self.step_s
        if self._warm and waited > self.share:
            self._said = True
            say(
                f"data-bound: {100 * waited:.0f} % of the last {self.window} steps was waiting for "
                f"images; give more data.num_workers (now {self.num_workers}, on "
                f"{len(os.sched_getaffinity(0))} cores), smaller images (ssl-swin shards create "
                "--short_side) or nearer storage; ssl-swin doctor tells which"
            )
        self._warm = True
        self.reset()


class Scalars(Callback):
    """TensorBoard's curves; a point's step is the number of steps done, over all lives."""

    def __init__(self, every_steps: int, clock: Clock) -> None:
        self.every_steps, self.clock = every_steps, clock

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log if it is time.

        Raises:
            ValueError: If the loss is not finite; every rank sees the same sum.
        """
        step = pl_module.step
        if step % self.every_steps:
            return
        assert pl_module.result is not None
        loss = float(trainer.strategy.reduce(pl_module.result.loss.clone(), reduce_op="sum"))
        if loss != loss or loss in (float("inf"), float("-inf")):
            raise ValueError(
                f"the loss is {loss} after step {step}; the last checkpoint is kept; lower "
                "optim.base_lr or optim.clip_grad, or lengthen optim.warmup_epochs"
            )
        pl_module.metrics["train_loss"] = loss
        batch_size, elapsed = pl_module.schedule.global_batch_size, self.clock.step_s
        points = {
            "train/loss": loss,
            "train/grad_norm": float(pl_module.result.grad_norm),
            "train/samples_seen": step * batch_size,
            "train/epoch": step / pl_module.schedule.steps_per_epoch,
            "speed/images_per_s": self.clock.num_steps * batch_size / elapsed,
            "speed/data_wait_share": self.clock.wait_s / elapsed,
            "data/bad_samples": pl_module.metrics.get("bad_samples", 0),
        }
        optimizer = pl_module.optimizers(use_pl_optimizer=False)
        for group in optimizer.param_groups:
            points[f"lr/{group['name']}"] = group["lr"]
        log(trainer, points)
        self.clock.reset()


def log(trainer: Trainer, points: dict[str, Any]) -> None:
    """Log points at the number of steps done."""
    if points:
        for logger in trainer.loggers:
            logger.log_metrics(points, step=trainer.lightning_module.step)


class ProgressBar(Callback):
    """Loss, images per second and time left; lines instead of a bar where there is no terminal."""

    def __init__(self, start_step: int, stop_step: int) -> None:
        self.start_step, self.stop_step = start_step, stop_step
        self._bar: Progress | None = None
        self._plain_at = self._began = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:
        """Draw the bar on rank 0."""
        if not trainer.is_global_zero:
            return
        self._began = self._plain_at = time.monotonic()
        console = Console(stderr=True)
        if not console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task(
            "", total=self.stop_step, completed=self.start_step, epoch="", text=""
        )
        self._bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move on."""
        if not trainer.is_global_zero:
            return
        step, schedule = pl_module.step, pl_module.schedule
        seconds = max(time.monotonic() - self._began, 1e-9)
        rate = (step - self.start_step) / seconds
        loss = pl_module.metrics.get("train_loss")  # None until the first point is logged
        shown = "" if loss is None else f"loss {loss:.4f}  "
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
        """Take the bar away, also after an error."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
