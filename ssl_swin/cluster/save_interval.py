"""How often to save: what loses least to saves and to failures together, and what a run does."""

import math
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ssl_swin.cluster.options import Options
from ssl_swin.config.run import RunConfig
from ssl_swin.config.training import TrainingConfig
from ssl_swin.machine import as_text
from ssl_swin.record.curves import last_point
from ssl_swin.record.lines import read_lines
from ssl_swin.record.run_folder import RunFolder

# Assumed where nothing was measured or stated; about as in benchmarks/results/stop_*.md.
DISK_BYTES_PER_S, COPY_BYTES_PER_S = 250e6, 1e9
_NUM_LOOKED_AT = 20  # last saves of a run
_ENOUGH = 0.005  # of the time; less is not worth another setting


class Kept(NamedTuple):
    """Shares of a run's time, each of what the one before leaves: their product is the goodput.

    Source:
        The complete model of Daly, "A higher order estimate of the optimum checkpoint interval for
        restart dumps", Future Generation Computer Systems 22(3), 2006. Failures come at any moment
        alike, in saves and restarts, too; a restart that is hit begins anew.
    """

    after_saves: float
    after_redoing: float
    after_restarts: float

    @property
    def goodput(self) -> float:
        """Share of the time that goes into steps that are not done again."""
        return math.prod(self)


def kept(interval_s: float, save_s: float, mtbf_s: float, restart_s: float = 0.0) -> Kept:
    """Return what saves, failures and restarts leave of a run's time.

    Args:
        interval_s: Seconds of training between two saves, greater than 0.
        save_s: Seconds that training stands still for a save.
        mtbf_s: Seconds between two failures, on average.
        restart_s: Seconds from a failure to the next step.
    """
    part = min((interval_s + save_s) / mtbf_s, 700.0)  # a float holds no exp of more
    return Kept(
        interval_s / (interval_s + save_s),
        part / math.expm1(part),
        math.exp(-restart_s / mtbf_s),
    )


def best_interval_s(save_s: float, mtbf_s: float) -> float:
    """Return the seconds of training between two saves that lose least.

    Source:
        Young, "A first order approximation to the optimum checkpoint interval", Communications of
        the ACM 17(9), 1974. Without Daly's correction: as long as a save takes less than a
        hundredth of `mtbf_s`, that would gain less than 0.1 % of the time.
    """
    return math.sqrt(2 * save_s * mtbf_s)


def interval_s(training: TrainingConfig, step_s: float) -> float:
    """Return the mean seconds of training between two saves of a run; infinity if there are none.

    Both settings apply. The minutes begin anew with each save, one that came by steps, too; steps
    are counted from the beginning of the run.
    """
    by_clock = 60 * training.checkpoint_every_min or math.inf
    by_steps = training.checkpoint_every_steps * step_s or math.inf
    return by_clock if math.isinf(by_steps) else by_steps / max(1, math.ceil(by_steps / by_clock))


class SaveTime(NamedTuple):
    """What a save takes."""

    pause_s: float  # while training stands still
    write_s: float  # until the next one can begin
    source: str


def save_time(
    folder: RunFolder, checkpoint_bytes: int, background: bool, stated_s: float | None
) -> SaveTime:
    """Return what a save takes: as stated, as of late in this run, or by assumed speeds."""
    if stated_s is not None:
        return SaveTime(stated_s, stated_s, "stated")
    lines = read_lines(folder.checkpoints)[-_NUM_LOOKED_AT:]  # of CheckpointWriter
    writes = [line["write_s"] for line in lines if "write_s" in line]
    write_s = median(writes) if writes else checkpoint_bytes / DISK_BYTES_PER_S
    measured, pause_s, speed = writes, write_s, DISK_BYTES_PER_S
    if background:
        measured = [line["pause_s"] for line in lines if "pause_s" in line]
        speed = COPY_BYTES_PER_S
        pause_s = median(measured) if measured else checkpoint_bytes / speed
    if measured:
        return SaveTime(pause_s, write_s, f"median of the last {len(measured)}")
    source = f"{as_text(checkpoint_bytes)} at {as_text(int(speed))}/s, assumed"
    return SaveTime(pause_s, write_s, source)


def describe_saves(
    config: RunConfig, checkpoint_bytes: int, options: Options, global_batch_size: int
) -> str:
    """Say how often to save, and what the settings of a run lose instead; nothing is changed."""
    training, folder = config.training, RunFolder(Path(config.run_dir))
    speed = options.images_per_s or last_point(folder, "speed/images_per_s")
    step_s = global_batch_size / speed if speed else None
    save = save_time(folder, checkpoint_bytes, training.async_checkpoint, options.save_s)
    mtbf_s = 3600 * options.mtbf_h
    best_s = max(best_interval_s(save.pause_s, mtbf_s), save.write_s, step_s or 0.0)
    least = 1 - kept(best_s, save.pause_s, mtbf_s).goodput
    text = (
        f"saves: each stops training for about {save.pause_s:.2g} s ({save.source}; or --save-s); "
        f"with a failure every {options.mtbf_h:g} h (--mtbf-h) the best interval is "
        f"{_minutes(best_s)} min: saves and steps done again take {least:.1%} of the time"
    )
    minutes, steps = training.checkpoint_every_min, training.checkpoint_every_steps
    names = f"training.checkpoint_every_min={minutes:g} with checkpoint_every_steps={steps}"
    if steps and step_s is None:
        return f"{text}; {names}: --images-per-s tells how often that is"
    every_s = interval_s(training, step_s or 0.0)
    if math.isinf(every_s):
        return f"{text}; {names} saves only at warnings: set {_advice(training, best_s, step_s)}"
    more = 1 - kept(every_s, save.pause_s, mtbf_s).goodput - least
    text += f"; {names} is {_minutes(every_s)} min and loses {max(more, 0.0):.1%} more"
    return text if more < _ENOUGH else f"{text}: set {_advice(training, best_s, step_s)}"


def _advice(training: TrainingConfig, best_s: float, step_s: float | None) -> str:
    """Name the settings that save every `best_s` seconds; saves by steps go if they come often."""
    text = f"--training.checkpoint-every-min {_minutes(best_s)}"
    by_steps = training.checkpoint_every_steps * (step_s or 0.0)
    return f"{text} --training.checkpoint-every-steps 0" if 0 < by_steps < 2 * best_s else text


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.{0 if seconds >= 600 else 1 if seconds >= 60 else 2}f}"
