"""Where points go: TensorBoard's curves, and the same points as JSON lines."""

from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from ssl_swin.record.lines import append_line
from ssl_swin.record.run_folder import RunFolder


class MetricsFile(Logger):
    """TensorBoard's points once more, in full precision, for programs.

    After a kill some steps come again in the next life, with the same numbers.
    """

    name, version = "metrics", ""

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.path = folder.metrics

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run folder has the config."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Append one line."""
        append_line(self.path, {"step": step, **metrics})


def make_loggers(folder: RunFolder, start_step: int) -> list[Logger]:
    """Return TensorBoard, which hides older points after `start_step`, and a file."""
    tensorboard = TensorBoardLogger(
        folder.tensorboard.parent,
        name="",
        version=folder.tensorboard.name,
        default_hp_metric=False,
        purge_step=start_step + 1,
    )
    return [tensorboard, MetricsFile(folder)]


def log(trainer: Trainer, points: dict[str, Any]) -> None:
    """Log points at the number of steps done."""
    if points:
        for logger in trainer.loggers:
            logger.log_metrics(points, step=trainer.lightning_module.step)
