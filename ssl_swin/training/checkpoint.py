"""Checkpoints: written whole or not at all, loaded without executing anything, saved when due."""

import errno
import os
import pickle
import secrets
import struct
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from ssl_swin.files import replacing
from ssl_swin.record.lines import append_line
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training.learner import Learner
from ssl_swin.training.preemption import Meeting
from ssl_swin.training.watchdog import beat

FORMAT = 1

State = dict[str, Any]

# What zipfile and torch.load say to bytes that are no checkpoint, or were one.
_BROKEN = (
    EOFError,
    LookupError,
    OverflowError,
    RuntimeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


# Errors of the system that are the file's fault: it is not there, or sends zipfile to a wild place.
_WRONG_FILE = (errno.ENOENT, errno.EISDIR, errno.EINVAL, errno.EOVERFLOW, None)


class DamagedCheckpoint(ValueError):
    """A checkpoint that cannot be read, or is not as it was written."""


def write_checkpoint(path: Path, state: State, ready: Callable[[], None] | None = None) -> None:
    """Write a checkpoint; the old file stays until the new one is whole.

    Args:
        path: The file.
        state: Its content.
        ready: Called right before the new file takes the old one's place, which it can forbid by
            raising.
    """
    with replacing(path, ready) as file:
        torch.save(state, file)


def keep_previous(folder: RunFolder) -> None:
    """Give `last` the name `previous` too; at every moment one of the names is a whole file."""
    last, previous = folder.last, folder.previous
    if not last.is_file():
        return  # there is no checkpoint yet
    spare = previous.with_name(f".{previous.name}.{secrets.token_hex(4)}.partial")
    try:
        os.link(last, spare)
        spare.replace(previous)
    except OSError:  # a file system without links
        last.replace(previous)
    finally:
        spare.unlink(missing_ok=True)  # still there if both were one file


def read_checkpoint(path: Path) -> State:
    """Read a checkpoint of ours; nothing in it is executed.

    Raises:
        DamagedCheckpoint: If it is not there, or a byte is not what was written.
        ValueError: If it is of another format.
        OSError: If the storage does not give it, which it may do later.
        MemoryError: If there is no room for it.
    """
    try:
        with zipfile.ZipFile(path) as file:  # torch writes check sums and never looks at them
            damaged = file.testzip()
        state = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        if error.errno not in _WRONG_FILE:
            raise
        reason = error.strerror or error
        raise DamagedCheckpoint(f"{path} cannot be read as a checkpoint: {reason}") from error
    except _BROKEN as error:
        if "allocate memory" in str(error):  # torch's word for it
            raise MemoryError(f"no memory to read {path} into") from error
        raise DamagedCheckpoint(
            f"{path} cannot be read as a checkpoint: it is damaged, or is not of this program"
        ) from error
    if damaged:
        raise DamagedCheckpoint(
            f"{path} cannot be read as a checkpoint: it is damaged, in {damaged}"
        )
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
        meeting: Tells all ranks whether a checkpoint is due by the clock.
        stop_step: The step the run ends at.
        every_steps: Steps between checkpoints; 0 for none.
        keep_every_steps: Steps between checkpoints that are kept; 0 for none.
        export: Writes the encoder and its card to a path.
        require_owner: Raises if a newer life owns the folder.
        background: Write while training goes on; the last one of a life is always waited for.
    """

    def __init__(
        self,
        folder: RunFolder,
        facts: State,
        meeting: Meeting,
        stop_step: int,
        *,
        every_steps: int,
        keep_every_steps: int,
        export: Callable[[Path], None],
        require_owner: Callable[[], None],
        background: bool,
    ) -> None:
        self.folder, self.facts, self.meeting = folder, facts, meeting
        self.stop_step, self.every_steps = stop_step, every_steps
        self.keep_every_steps, self.export = keep_every_steps, export
        self.require_owner, self.background = require_owner, background
        self._best: float | None = None
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:
        """Remember the best result of the lives before."""
        self._best = pl_module.metrics.get("best_top1")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time, if the run ends here, or if it was asked to stop.

        Raises:
            ValueError: If the gradient is not finite.
            LostOwnership: On rank 0, if a newer life owns the folder.
            OSError: If this checkpoint, or the one in the background, cannot be written.
        """
        if self._writing is not None and self._writing.done():
            self.finish()
        reasons = self._reasons(trainer, pl_module)
        if not reasons:
            return
        _require_finite(pl_module)
        beat()
        leaving = trainer.should_stop or pl_module.step == self.stop_step
        state = self._state(trainer, pl_module)
        if trainer.is_global_zero:
            self._save(trainer, pl_module, state, reasons)
            if leaving:
                self.finish()
        if leaving:
            trainer.strategy.barrier()  # who leaves first may have the others killed
        self._best = pl_module.metrics.get("best_top1")
        self.meeting.saved()
        beat()

    def finish(self) -> None:
        """Wait for the checkpoint that is being written in the background.

        Raises:
            OSError: If it could not be written.
            LostOwnership: If a newer life owns the folder.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _save(self, trainer: Trainer, module: Learner, state: State, reasons: list[str]) -> None:
        self.finish()  # one at a time, so that there is one copy and the order is kept
        for logger in trainer.loggers:  # points before the checkpoint are not drawn again
            logger.save()
        targets = [self.folder.best] if "best" in reasons else []
        if "keep" in reasons:
            epoch = module.step // module.schedule.steps_per_epoch
            targets.append(self.folder.kept(epoch))
            self.require_owner()
            self.export(self.folder.kept_encoder(epoch))
        if self.background:
            state = _copied(state)
            self._writing = self._writer.submit(self._write, targets, state, reasons)
        else:
            self._write(targets, state, reasons)

    def _write(self, targets: list[Path], state: State, reasons: list[str]) -> None:
        for path in targets:
            write_checkpoint(path, state, self.require_owner)
        write_checkpoint(self.folder.last, state, self._make_room)
        append_line(self.folder.checkpoints, {"step": state["step"], "reasons": reasons})

    def _make_room(self) -> None:
        self.require_owner()
        keep_previous(self.folder)
        self.require_owner()  # once more, as the rename is next

    def _reasons(self, trainer: Trainer, module: Learner) -> list[str]:
        step = module.step
        due = {
            "steps": self.every_steps and step % self.every_steps == 0,
            "minutes": self.meeting.save_due,
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


def _copied(value: Any) -> Any:
    """Copy what the next step would change into main memory."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(inner) for inner in value)
    return value


def _require_finite(module: Learner) -> None:
    assert module.result is not None
    if not torch.isfinite(module.result.grad_norm):
        raise ValueError(
            f"the gradient is not finite after step {module.step}; nothing was saved over the last "
            "checkpoint; lower optim.base_lr or optim.clip_grad, or lengthen optim.warmup_epochs"
        )
