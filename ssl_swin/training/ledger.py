"""Writes down which images each step used: one file of JSON lines for each rank."""

from typing import Any

from pytorch_lightning import Callback, Trainer

from ssl_swin.record.lines import append_line
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training.learner import Learner


class Ledger(Callback):
    """Appends a line after each step."""

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
