"""Checkpoints: written whole or not at all, loaded without executing anything, saved when due."""

import pickle
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer

from ssl_swin.atomic import replacing
from ssl_swin.run_folder import RunFolder, append_line
from ssl_swin.training.learner import Learner

FORMAT = 1

State = dict[str, Any]

# What torch.load says to bytes that are no checkpoint, or were one.
_BROKEN = (EOFError, RuntimeError, ValueError, LookupError, struct.error, pickle.UnpicklingError)


def write_checkpoint(path: Path, state: State) -> None:
    """Write a checkpoint; the old file stays until the new one is whole."""
    with replacing(path) as file:
        torch.save(state, file)


def read_checkpoint(path: Path) -> State:
    """Read a checkpoint of ours; nothing in it is executed.

    Raises:
        ValueError: If it cannot be read, or is of another format.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"{path} cannot be read as a checkpoint: {error.strerror}") from error
    except _BROKEN as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint: it is damaged, or is not of this program"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(
            f"{path} is not a checkpoint of a run of this program (format {FORMAT}); to start from "
            "somebody's weights, fine-tune with `encoder`"
        )
    return state


def restore(module: Learner, state: State) -> None:
    """Put a checkpoint's weights, counters and optimiser into a module, before training starts.

    Raises:
        ValueError: If the weights are of another architecture.
    """
    mine, theirs = module.state_dict(), state["model"]
    for name in [*mine, *(name for name in theirs if name not in mine)]:
        have = tuple(mine[name].shape) if name in mine else None
        found = tuple(theirs[name].shape) if name in theirs else None
        if have != found:
            raise ValueError(
                f"the checkpoint is of another architecture: {name} is {found} there and {have} in "
                "this config; use the config it was trained with, or start a new run folder"
            )
    module.load_state_dict(theirs)
    module.step = state["step"]
    module.metrics = dict(state["metrics"])
    module.optimizer_state = state["optimizer"]


class Checkpoints(Callback):
    """Saves at the step boundary, after everything else that belongs to the step.

    Args:
        folder: The run's files.
        facts: What the checkpoint says of the run beside its weights: kind, shard set, lanes.
        stop_step: The step the run ends at.
        every_steps: Steps between checkpoints; 0 for none.
        every_s: Seconds between checkpoints; 0 for none.
        keep_every_steps: Steps between checkpoints that are kept; 0 for none.
        export: Writes the encoder and its card to a path.
    """

    def __init__(
        self,
        folder: RunFolder,
        facts: State,
        stop_step: int,
        every_steps: int,
        every_s: float,
        keep_every_steps: int,
        export: Callable[[Path], None],
    ) -> None:
        self.folder, self.facts, self.stop_step = folder, facts, stop_step
        self.every_steps, self.every_s = every_steps, every_s
        self.keep_every_steps, self.export = keep_every_steps, export
        self._saved_at = time.monotonic()
        self._best: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:
        """Remember the best result of the lives before."""
        self._best = pl_module.metrics.get("best_top1")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time, if the run ends here, or if it was asked to stop."""
        reasons = self._reasons(trainer, pl_module)
        if not reasons:
            return
        _require_finite(pl_module)
        state = self._state(trainer, pl_module)
        if trainer.is_global_zero:
            for logger in trainer.loggers:  # points before the checkpoint are not drawn again
                logger.save()
            if "best" in reasons:
                write_checkpoint(self.folder.best, state)
            if "keep" in reasons:
                epoch = pl_module.step // pl_module.schedule.steps_per_epoch
                write_checkpoint(self.folder.kept(epoch), state)
                self.export(self.folder.kept_encoder(epoch))
            write_checkpoint(self.folder.last, state)
            append_line(self.folder.checkpoints, {"step": pl_module.step, "reasons": reasons})
        self._best = pl_module.metrics.get("best_top1")
        self._saved_at = time.monotonic()

    def _reasons(self, trainer: Trainer, module: Learner) -> list[str]:
        step = module.step
        due = {
            "steps": self.every_steps and step % self.every_steps == 0,
            "minutes": self.every_s and time.monotonic() - self._saved_at >= self.every_s,
            "keep": self.keep_every_steps and step % self.keep_every_steps == 0,
            "best": module.metrics.get("best_top1") != self._best,
            "stop": trainer.should_stop,
            "end": step == self.stop_step,
        }
        return [reason for reason, holds in due.items() if holds]

    def _state(self, trainer: Trainer, module: Learner) -> State:
        optimizer = module.optimizers(use_pl_optimizer=False)
        return {
            "format": FORMAT,
            "step": module.step,
            "samples_seen": module.step * module.schedule.global_batch_size,
            "metrics": dict(module.metrics),
            "model": trainer.strategy.lightning_module_state_dict(),
            "optimizer": trainer.strategy.optimizer_state(optimizer),
            **self.facts,
        }


def _require_finite(module: Learner) -> None:
    assert module.result is not None
    if not torch.isfinite(module.result.grad_norm):
        raise ValueError(
            f"the gradient is not finite after step {module.step}; nothing was saved over the last "
            "checkpoint; lower optim.base_lr or optim.clip_grad, or lengthen optim.warmup_epochs"
        )
