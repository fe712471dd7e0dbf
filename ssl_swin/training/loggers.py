"""What a run logs of its steps: curves, the same points as JSON lines, and the images of each."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from ssl_swin.record.lines import append_line, read_lines, write_text
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training.board import Board
from ssl_swin.training.clock import Clock
from ssl_swin.training.follower import Follower
from ssl_swin.training.learner import Learner
from ssl_swin.training.life_record import LifeRecord
from ssl_swin.training.memory import described, largest_peak, points_of, reset_peak
from ssl_swin.training.trainer import say


class MetricsFile(Logger):
    """TensorBoard's points once more, in full precision, for programs; each stands once."""

    name, version = "metrics", ""

    def __init__(self, folder: RunFolder, require_owner: Callable[[], None]) -> None:
        super().__init__()
        self.path, self.require_owner = folder.metrics, require_owner

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run folder has the config."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Append one line, while this life owns the folder: a newer one drops what it repeats."""
        self.require_owner()
        append_line(self.path, {"step": step, **metrics}, make_folder=False)


class CsvFile(Logger):
    """The same points as one table: a row for each line of `metrics.jsonl`, of which it is made.

    Lightning's own deletes the table of an earlier life, and puts columns in another order each
    time. This one is written anew when a life has its first point, or a point a new name.
    """

    name, version = "csv", ""

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.folder = folder
        self._columns: list[str] = []

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run folder has the config."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Append a row, which stands in `metrics.jsonl`."""
        point = {"step": step, **metrics}
        if point.keys() <= {*self._columns}:
            with self.folder.table.open("a", encoding="utf-8") as file:
                file.write(self._row(point))
            return
        points = [point for point in read_lines(self.folder.metrics) if "step" in point]
        self._columns = list(dict.fromkeys(name for point in points for name in point))
        rows = map(self._row, points)
        write_text(self.folder.table, "".join([",".join(self._columns) + "\n", *rows]))

    def _row(self, point: Mapping[str, Any]) -> str:
        return ",".join(str(point.get(name, "")) for name in self._columns) + "\n"


def make_loggers(
    folder: RunFolder,
    start_step: int,
    require_owner: Callable[[], None] = lambda: None,
    names: Iterable[str] = ("tensorboard",),
    kind: str = "",
) -> list[Logger]:
    """Return the file of all points, and the loggers of these names for a run of a kind.

    TensorBoard hides older points after `start_step`.

    Raises:
        UserError: If one lacks what only the user can give, such as a key.
    """
    make: dict[str, Callable[[], Logger]] = {
        "tensorboard": lambda: Board(folder, start_step),
        "csv": lambda: CsvFile(folder),
    }
    rest = [
        make[name]() if name in make else Follower(folder, name, kind, require_owner)
        for name in dict.fromkeys(names)
    ]
    return [MetricsFile(folder, require_owner), *rest]  # the others stand on its lines


def log(trainer: Trainer, points: dict[str, Any]) -> None:
    """Log points at the number of steps done.

    Those that are not finite are left out, for JSON has no word for them; `train/bad_steps` tells.
    """
    points = {name: value for name, value in points.items() if math.isfinite(value)}
    if points:
        for logger in trainer.loggers:
            logger.log_metrics(points, step=trainer.lightning_module.step)


class Scalars(Callback):
    """Logs points; the step of a point is the number of steps done over all lives.

    The first point of a life also says, for its log, how much memory was taken at most.
    """

    def __init__(self, every_steps: int, clock: Clock) -> None:
        self.every_steps, self.clock = every_steps, clock
        self._said = False

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:
        """Count the peak of memory from here."""
        reset_peak(pl_module.device)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Learner, *_: Any) -> None:
        """Log if it is time."""
        step = pl_module.step
        if step % self.every_steps:
            return
        assert pl_module.result is not None
        loss = float(trainer.strategy.reduce(pl_module.result.loss.clone(), reduce_op="sum"))
        if math.isfinite(loss):
            pl_module.metrics["train_loss"] = loss
        batch_size, elapsed = pl_module.schedule.global_batch_size, self.clock.step_s
        points = {
            "train/loss": loss,
            "train/grad_norm": float(pl_module.result.grad_norm),
            "train/bad_steps": pl_module.metrics.get("bad_steps", 0),
            "train/samples_seen": step * batch_size,
            "train/epoch": step / pl_module.schedule.steps_per_epoch,
            "speed/images_per_s": self.clock.num_steps * batch_size / elapsed,
            "speed/data_wait_share": self.clock.wait_s / elapsed,
            "data/bad_samples": pl_module.metrics.get("bad_samples", 0),
        }
        if pl_module.loss_scale:
            points["train/loss_scale"] = float(pl_module.loss_scale.scale)
            points["train/overflow_steps"] = pl_module.metrics.get("overflow_steps", 0)
        parts = pl_module.result.parts
        if parts is not None:
            whole = trainer.strategy.reduce(parts.clone(), reduce_op="sum").tolist()
            named = zip(pl_module.part_names, whole, strict=True)
            points |= {f"train/{name}": value for name, value in named}
        optimizer = pl_module.optimizers(use_pl_optimizer=False)
        points |= {f"lr/{group['name']}": group["lr"] for group in optimizer.param_groups}
        peak = largest_peak(trainer)
        log(trainer, points | pl_module.points() | points_of(peak))
        if not self._said:
            say(f"memory of a process: {described(peak, pl_module.device)}")
            self._said = True
        self.clock.reset()


class Ledger(Callback):
    """Writes down which images each step used: one file of JSON lines for each rank."""

    def __init__(self, record: LifeRecord) -> None:
        self.folder, self.record = record.folder, record

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:
        """Make the folder, in the run folder that is there."""
        self.folder.ledger(0).parent.mkdir(exist_ok=True)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Append this rank's line; steps count from 0."""
        rank = trainer.global_rank
        line = {"life": self.record.life, "step": pl_module.step - 1, "rank": rank}
        line["ids"] = batch["ids"].tolist()
        append_line(self.folder.ledger(rank), line, make_folder=False)
