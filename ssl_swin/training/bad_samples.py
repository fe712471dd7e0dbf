"""Counts and names images that could not be decoded, and stops the run when they are too many."""

from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.errors import UserError
from ssl_swin.record.lines import append_line, read_lines
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training.learner import Learner
from ssl_swin.training.preemption import Meeting

FEWEST_SAMPLES = 1000  # a run that has seen fewer counts as having seen so many


class BadSamples(Callback):
    """Names each bad sample once for each epoch, and stops all ranks when there are too many.

    Ranks add up what they found where points are logged, where checkpoints are due, and where the
    run ends or stops. What a life finds later, and does not save, the next life finds again.

    Args:
        max_share: Largest share of bad samples among those seen.
        every_steps: Ranks add up at each multiple of one of these numbers; 0 for none.
    """

    def __init__(
        self,
        folder: RunFolder,
        stream: ImageStream,
        max_share: float,
        every_steps: tuple[int, ...],
        meeting: Meeting,
    ) -> None:
        self.folder, self.stream, self.max_share = folder, stream, max_share
        self.every_steps, self.meeting = every_steps, meeting
        self._pending: list[Tensor] = []  # (batch, 2) on the device, so that no step waits
        self._named: set[tuple[int, int]] = set()

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:
        """Read what earlier lives have named."""
        records = read_lines(self.folder.bad_samples)
        self._named = {(record["epoch"], record["index"]) for record in records}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Collect what was replaced; add up and name it if it is time.

        Raises:
            UserError: If there are too many; every rank sees the same sum.
        """
        self._pending.append(torch.stack([batch["epoch"], batch["replaced"]], dim=1))
        step = pl_module.step
        if self.meeting.counts_after(step, self.every_steps):
            self._add_up(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Learner) -> None:
        """Add up what is saved when the run is stopped."""
        if self.meeting.signal and self._pending:
            self._add_up(trainer, pl_module)

    def _add_up(self, trainer: Trainer, pl_module: Learner) -> None:
        step = pl_module.step
        pending = torch.cat(self._pending)
        self._pending.clear()
        found = pending[pending[:, 1] >= 0]
        count = torch.tensor(len(found), device=pl_module.device)
        num_new = int(trainer.strategy.reduce(count, reduce_op="sum"))
        total = num_new + pl_module.metrics.get("bad_samples", 0)
        pl_module.metrics["bad_samples"] = total
        if num_new:
            everywhere = _gather(trainer, found.tolist())
            if trainer.is_global_zero:
                self._name(step, everywhere)
        seen = step * pl_module.schedule.global_batch_size
        if total > self.max_share * max(seen, FEWEST_SAMPLES):
            raise UserError(
                f"{total:.0f} of {seen} images could not be decoded, data.max_bad_share="
                f"{self.max_share} allows fewer; {self.folder.bad_samples} names them: mend or "
                "repack the shards (ssl-swin shards verify), or allow more"
            )

    def _name(self, step: int, found: list[tuple[int, int]]) -> None:
        for epoch, index in found:
            if (epoch, index) not in self._named:
                self._named.add((epoch, index))
                shard, key, reason = self.stream.explain(index)
                line = {"step": step, "epoch": epoch, "index": index, "shard": shard}
                line |= {"key": key, "reason": reason}
                append_line(self.folder.bad_samples, line, make_folder=False)


def _gather(trainer: Trainer, found: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return what all ranks found, by rank."""
    if trainer.world_size == 1:
        return found
    parts: list[list[tuple[int, int]]] = [[] for _ in range(trainer.world_size)]
    torch.distributed.all_gather_object(parts, found)
    return [one for part in parts for one in part]
