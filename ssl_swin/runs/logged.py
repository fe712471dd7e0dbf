"""What a run watches and draws, and where it goes, by its config; what is sent when a life ends."""

from collections.abc import Callable
from dataclasses import asdict

from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import Logger

from ssl_swin.config.run import FinetuneConfig
from ssl_swin.data.shards.given import SINGLE
from ssl_swin.record.summary import Summary
from ssl_swin.record.tracking import PACKAGES, Sent
from ssl_swin.runs.build import Run
from ssl_swin.training.bias_tables import BiasTables
from ssl_swin.training.follower import Follower
from ssl_swin.training.heldout_pictures import HeldoutPictures
from ssl_swin.training.loggers import make_loggers
from ssl_swin.training.monitors import Monitors
from ssl_swin.training.panels import Panels
from ssl_swin.training.preemption import Meeting
from ssl_swin.training.projector import Projector
from ssl_swin.training.trainer import is_rank_0


def loggers_of(run: Run, require_owner: Callable[[], None]) -> list[Logger]:
    """Return the loggers that a run names.

    Raises:
        UserError: If one lacks what only the user can give, such as a key.
    """
    names, step = run.config.training.loggers, run.module.step
    return make_loggers(run.start.folder, step, require_owner, names, run.kind)


def heldout_pictures_of(run: Run) -> HeldoutPictures | None:
    """Return what draws the held-out measurements of a fine-tuning."""
    heldout = run.datamodule.heldout
    config = run.config
    is_of_classes = isinstance(config, FinetuneConfig) and config.task == SINGLE
    if not is_of_classes or heldout is None:
        return None
    return HeldoutPictures(run.start.folder, heldout.stream, run.start.classes)


def monitors_of(run: Run, meeting: Meeting) -> list[Callback]:
    """Return what looks at the features of a pretraining, unless it is switched off."""
    if run.monitored is None:
        return []
    return [Monitors(run.monitored, run.sizes.stop_step, meeting.stop_here)]


def pictures_of(run: Run) -> list[Callback]:
    """Return what makes pictures of a pretraining, and nothing for a fine-tuning."""
    if run.kind != "pretrain":
        return []
    stop_step = run.sizes.stop_step
    every = run.config.training.panel_every_epochs * run.order.steps_per_epoch
    panels = Panels(run.start.folder, every, stop_step)
    return [panels, BiasTables(every, stop_step), Projector(stop_step)]


def end_loggers(run: Run, trainer: Trainer, status: str, summary: Summary | None = None) -> None:
    """Tell trackers of others, on rank 0, how a life ended, and of a finished run what it found."""
    if not trainer.is_global_zero:
        return
    for logger in trainer.loggers:
        if isinstance(logger, Follower):
            logger.end(status, _numbers(summary), run.module.step)


def send_rest(run: Run, summary: Summary) -> None:
    """Send what trackers of others lack of a finished run, on rank 0."""
    folder = run.start.folder
    for name in PACKAGES if is_rank_0() else ():
        if name in run.config.training.loggers and not Sent(folder, name).whole:
            follower = Follower(folder, name, run.kind, lambda: None)
            follower.log_metrics({})
            follower.end("finished", _numbers(summary), summary.step)


def _numbers(summary: Summary | None) -> dict[str, float]:
    found = {} if summary is None else asdict(summary)
    return {
        f"final/{name}": value for name, value in found.items() if isinstance(value, int | float)
    }
