"""Writes checkpoints into a run folder, in the background if asked to."""

import math
import os
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from ssl_swin.machine import as_text
from ssl_swin.phases import duration, tell
from ssl_swin.record.lines import append_line
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training.checkpoint_file import State, write_checkpoint

TELL_EVERY_S = 60.0  # at most so often is a line said of a checkpoint


class CheckpointWriter:
    """Writes checkpoints into a run folder; rank 0 alone uses it.

    Args:
        require_owner: Raises if a newer life owns the folder.
        background: Write from a copy in main memory while training goes on.
    """

    def __init__(
        self, folder: RunFolder, require_owner: Callable[[], None], background: bool
    ) -> None:
        self.folder, self.require_owner, self.background = folder, require_owner, background
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None
        self._told_at = -math.inf

    def write(self, state: State, copies: list[Path], reasons: list[str]) -> None:
        """Write `copies` of a checkpoint, then the last checkpoint; note `reasons` and seconds.

        The state may change once this returns. `pause_s` is how long training stood still for one
        in the background, `write_s` how long the disk took.

        Raises:
            LostOwnership: If a newer life owns the folder.
            OSError: If this checkpoint, or the one before it, cannot be written.
        """
        began, line = time.monotonic(), {"step": state["step"], "reasons": reasons}
        self.finish()  # one at a time, so that memory holds one copy and the order is kept
        if self.background:
            copy = _copied(state)
            line["pause_s"] = _seconds_since(began)
            self._writing = self._thread.submit(self._write, copy, copies, line)
        else:
            self._write(state, copies, line)

    def check(self) -> None:
        """Raise the error of a checkpoint in the background, if it failed; do not wait."""
        if self._writing is not None and self._writing.done():
            self.finish()

    def finish(self) -> None:
        """Wait for the checkpoint in the background, and raise what `write` would have raised."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(self, state: State, copies: list[Path], line: dict[str, Any]) -> None:
        began = time.monotonic()
        self.require_owner()  # before a folder is made
        for path in copies:
            write_checkpoint(path, state, self.require_owner)
        write_checkpoint(self.folder.last, state, self._make_room)
        line["write_s"] = _seconds_since(began)
        append_line(self.folder.checkpoints, line, make_folder=False)
        self._tell(state["step"], line["write_s"])

    def _tell(self, step: int, seconds: float) -> None:
        """Say what was saved, now and then."""
        if time.monotonic() - self._told_at < TELL_EVERY_S:
            return
        self._told_at, path = time.monotonic(), self.folder.last
        with suppress(OSError):  # who reads it may have gone; the checkpoint is there
            size = as_text(path.stat().st_size)
            tell(f"saved {path}: step {step:,}, {size}, {duration(seconds)}")

    def _make_room(self) -> None:
        self.require_owner()
        keep_previous(self.folder)
        self.require_owner()  # once more, as the rename is next


def _seconds_since(began: float) -> float:
    return round(time.monotonic() - began, 3)


def keep_previous(folder: RunFolder) -> None:
    """Name the last checkpoint `previous`, too; at any moment one of the two is a whole file."""
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
        spare.unlink(missing_ok=True)  # where both names were one file already, it is left


def _copied(value: Any) -> Any:
    """Copy tensors, which the next step changes, into main memory."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(inner) for inner in value)
    return value
