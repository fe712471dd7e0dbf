"""One life of a run: train or describe it, leave when asked to, export what was learned."""

import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pytorch_lightning import Callback, Trainer

from ssl_swin import __version__, errors, machine, signals
from ssl_swin.config.run import RunConfig
from ssl_swin.config.settings import flatten
from ssl_swin.phases import Phase
from ssl_swin.record.lives import nearest_place, require_record, require_saved, require_writable
from ssl_swin.record.owner import FolderGone, LostOwnership, Ownership
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import DamagedSummary, Summary, read_summary, write_summary
from ssl_swin.record.tracking import require_packages
from ssl_swin.runs.build import LONGEST, Run, build, build_trainer
from ssl_swin.runs.describe import describe
from ssl_swin.runs.ending import tell_finished, tell_stopped
from ssl_swin.runs.export import complete, export_all, summarise
from ssl_swin.runs.gpu_use import utilisation
from ssl_swin.runs.logged import (
    end_loggers,
    heldout_pictures_of,
    loggers_of,
    monitors_of,
    pictures_of,
    send_rest,
)
from ssl_swin.runs.micro_batch import try_micro_batches
from ssl_swin.runs.network import checkpoint_bytes
from ssl_swin.runs.out_of_memory import memory_told
from ssl_swin.runs.resume import prepare_folder
from ssl_swin.runs.sizes import disk_needs, machine_needs, steps_between_points
from ssl_swin.training.bad_samples import BadSamples
from ssl_swin.training.bad_steps import BadSteps
from ssl_swin.training.checkpoint import Checkpoints
from ssl_swin.training.checkpoint_file import State
from ssl_swin.training.checkpoint_writer import CheckpointWriter
from ssl_swin.training.clock import Clock, DataWait
from ssl_swin.training.life_record import LifeRecord, note_failed_start, reason_of
from ssl_swin.training.loggers import Ledger, Scalars
from ssl_swin.training.measurement import Measurement
from ssl_swin.training.memory import largest_peak
from ssl_swin.training.norms import Norms
from ssl_swin.training.preemption import Meeting, StartAgain
from ssl_swin.training.progress import ProgressBar
from ssl_swin.training.trainer import is_rank_0, limit_threads, say
from ssl_swin.training.watchdog import Watchdog


def run(
    config: RunConfig,
    resume_from: Path | None = None,
    dry_run: bool = False,
    find_micro_batch: bool = False,
    given: Collection[str] = (),
    told: Collection[str] = (),
) -> int:
    """Live one life of a run, as `LifeOptions` say; the same call again goes on where it stopped.

    `given` names the settings that the user gave, as for `as_begun`; the lines `told` are said.

    Returns:
        0 when the run is finished, 75 when it was asked to stop and wants to be started again, 3
        when a newer start has taken it over.

    Raises:
        UserError: If the config does not fit the data, the network or the run folder.
        MachineError: If the shards of a run that has begun are not what they were.
    """
    begun = threading.Event()
    with signals.heard_at_once(partial(_leave_unless, begun)):
        for line in told:
            say(line)
        require_packages(config.training.loggers)
        if find_micro_batch:
            # One process finds it; where SLURM has started more, they are not needed.
            return try_micro_batches(build(config, resume_from, given)) if is_rank_0() else 0
        folder = RunFolder(Path(config.run_dir))
        if dry_run:
            require_saved(folder)
            require_writable(folder)
            return describe(_fitted(build(config, resume_from, given)))
        try:
            require_record(folder)
            with _storage_to_blame(folder):
                built = build(config, resume_from, given)
        except Exception as error:
            note_failed_start(folder, error)
            raise
        return train(_fitted(built), begun.set)


def _fitted(run: Run) -> Run:
    """Raise this process's limits to what a run needs, and warn of what this machine lacks."""
    config, sizes = run.config, run.sizes
    needs = machine_needs(config, max(sizes.shares), config.training.devices)
    machine.raise_file_limit(needs.open_files)
    files, size, _ = disk_needs(config, sizes, checkpoint_bytes(run.module.network, config))
    disk = machine.disk_shortage(nearest_place(run.start.folder), files * size)
    crowd = None if run.on_gpu else machine.crowd(config.training.num_threads)
    for line in (*machine.shortages(needs), *filter(None, (disk, crowd))):
        if machine.speaks():
            print(f"warning: {line}", file=sys.stderr)
    return run


@contextmanager
def _storage_to_blame(folder: RunFolder) -> Iterator[None]:
    """Once a run has a checkpoint its shards were right, and it is the storage that changed."""
    try:
        yield
    except errors.ShardError as error:
        if not folder.last.is_file() and not folder.previous.is_file():
            raise
        raise errors.MachineError(
            f"{errors.one_line(error)}; they were there when this run began: once they are again, "
            "the same command goes on"
        ) from error


def _leave_unless(begun: threading.Event, number: int) -> None:
    """Leave from a thread after a signal, whatever the start waits for; a step would be saved."""
    if not begun.is_set():
        signals.leave_at_once(number)


def train(run: Run, begun: Callable[[], None] = lambda: None) -> int:
    """Train to the end of the run, or until it is asked to stop; return the exit status.

    `begun` is called when all ranks begin to take steps.
    """
    training, module, folder = run.config.training, run.module, run.start.folder
    stop_step, life = run.sizes.stop_step, run.start.life
    if _was_finished(run):
        return 0
    limit_threads(training.num_threads, training.devices)
    meeting = Meeting(stop_step, 60 * training.checkpoint_every_min, LONGEST, life, begun)
    ownership = Ownership(folder.owner)
    record = LifeRecord(folder, life, ownership, partial(prepare_folder, run.start))
    watchdog = Watchdog(training.step_timeout_s, record)
    starting = Phase(_start_told(run))
    callbacks = between_steps(run, meeting, record, starting)
    loggers = loggers_of(run, ownership.require)
    trainer = build_trainer(training, [meeting, record, watchdog, *callbacks], loggers)
    run.datamodule.meeting = meeting
    watchdog.start()
    starting.begin()
    try:
        if module.step < stop_step:
            with _storage_to_blame(folder), memory_told(run):
                trainer.fit(module, datamodule=run.datamodule)
        if module.step < stop_step:
            why = f"signal {signal.Signals(meeting.signal).name}"
            record.end(why, errors.REQUEUE)
            end_loggers(run, trainer, "stopped")
            tell_stopped(run, why)
            return errors.REQUEUE
        return _hand_off(run, trainer, record)
    except StartAgain as error:
        say(f"stopped before the first step: {error}")
        return record.end("ranks read different checkpoints", errors.REQUEUE)
    except BaseException as error:
        if isinstance(error, LostOwnership) or ownership.is_lost():  # which may cause any error
            say(f"error: {ownership.describe_loss()}", file=sys.stderr)
            return record.end("lost ownership", errors.LOST)
        if _is_gone(ownership):
            say(f"error: {ownership.describe_absence()}", file=sys.stderr)
            return errors.FAILED
        record.end(reason_of(error), errors.exit_status(error))
        if not isinstance(error, KeyboardInterrupt):  # a second Ctrl-C waits for nobody
            end_loggers(run, trainer, "failed")
        raise
    finally:
        starting.stop()
        watchdog.stop()


def _was_finished(run: Run) -> bool:
    """Whether an earlier life has finished the run; if so, complete it and tell of it once more."""
    folder, summary = run.start.folder, None
    try:
        summary = read_summary(folder) if run.module.step >= run.sizes.stop_step else None
    except DamagedSummary as damage:
        say(f"warning: {damage}")
    if summary is None:
        return False
    for line in complete(run) if is_rank_0() else ():
        say(line)
    send_rest(run, summary)
    tell_finished(run, summary, f"{folder.root} is finished: {folder.summary}")
    return True


def _hand_off(run: Run, trainer: Trainer, record: LifeRecord) -> int:
    """Leave what a finished run leaves beside its last checkpoint, and tell; all ranks call this.

    The encoder goes with that checkpoint, unless the life that wrote it ended before. Returns 0.
    """
    summary: Summary | None = None
    folder, ownership = run.start.folder, record.ownership
    memory = largest_peak(trainer) if record.has_begun else None
    if trainer.is_global_zero:
        ownership.require()
        if not record.has_begun:
            export_all(run, None, run.module.weights_before_training())
            ownership.require()
        summary = summarise(run, record.life, record.seconds, memory)
        write_summary(folder, summary)
    trainer.strategy.barrier()  # when one process leaves, SLURM soon ends the others
    record.end("finished", 0)
    end_loggers(run, trainer, "finished", summary)
    if summary is not None:
        tell_finished(run, summary)
    return 0


def _start_told(run: Run) -> str:
    """Say what is done from here to the first step; the others may be waited for."""
    num = run.config.training.devices * run.config.training.num_nodes
    return "setting up" if num == 1 else f"setting up {num} processes, which wait for each other"


def _is_gone(ownership: Ownership) -> bool:
    """Whether the run folder is gone, now that something has failed."""
    try:
        ownership.require()
    except FolderGone:
        return True
    except (LostOwnership, OSError):
        pass
    return False


def between_steps(
    run: Run, meeting: Meeting, record: LifeRecord, starting: Phase | None = None
) -> list[Callback]:
    """Return what happens between two steps, in this order.

    `Checkpoints` comes after all that belongs to the step. `train` puts the meeting first, so that
    nothing is written unless all ranks begin at the same step. `starting` is over after the first.
    """
    training, data, folder = run.config.training, run.config.data, run.start.folder
    per_epoch, stop_step, clock = run.order.steps_per_epoch, run.sizes.stop_step, Clock()
    validate_every = training.validate_every_epochs * per_epoch
    keep_every = training.keep_every_epochs * per_epoch
    points_every = steps_between_points(run.config, run.sizes)
    # wherever a checkpoint may be due, so that it holds all counts
    count_every = points_every, training.checkpoint_every_steps, validate_every, keep_every
    checkpoints = Checkpoints(
        CheckpointWriter(folder, record.ownership.require, training.async_checkpoint),
        meeting,
        training.checkpoint_every_steps,
        keep_every,
        _facts(run),
        partial(export_all, run),
    )
    callbacks: list[Callback] = [Ledger(record)] if training.ledger else []
    callbacks += [
        BadSamples(folder, run.stream, data.max_bad_share, count_every, meeting),
        BadSteps(training.max_bad_steps, count_every, meeting),
        Scalars(points_every, clock),
        Norms(points_every),
        *utilisation(run, points_every),
        *monitors_of(run, meeting),
        Measurement(validate_every, stop_step, checkpoints.save_early, heldout_pictures_of(run)),
    ]
    return [
        *callbacks,
        *pictures_of(run),
        checkpoints,
        ProgressBar(run.module.step, stop_step, starting, lambda: record.seconds),
        DataWait(data.num_workers),
        clock,
    ]


def _facts(run: Run) -> State:
    """Return what a checkpoint says of its run."""
    return {
        "kind": run.kind,
        "version": __version__,
        "config": flatten(run.config),
        "shards": run.stream.shards.describe(),
        "num_lanes": run.order.num_lanes,
        "steps_per_epoch": run.order.steps_per_epoch,
        "best_of": run.best_of,
        **run.start.remembered,
    }
