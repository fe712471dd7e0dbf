"""Claims a run folder for one life, and writes down when that life begins and why it ends."""

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from pytorch_lightning import Callback, Trainer

from ssl_swin import errors
from ssl_swin.phases import tell
from ssl_swin.record.lines import append_line, read_json
from ssl_swin.record.lives import count_lives, is_known
from ssl_swin.record.owner import Ownership
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training.environment import environment
from ssl_swin.training.learner import Learner


class SlurmJob(NamedTuple):
    """What SLURM says of this life; all None outside of it."""

    job: str | None
    restart: int | None  # times the job was put back in the queue
    nodes: str | None  # SLURM's list of their names


def slurm_job() -> SlurmJob:
    """Return the job this process runs in."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return SlurmJob(None, None, None)
    restart = int(os.environ.get("SLURM_RESTART_COUNT", "0"))  # not set in a job's first life
    return SlurmJob(job, restart, os.environ.get("SLURM_JOB_NODELIST"))


def note_failed_start(folder: RunFolder, error: BaseException) -> None:
    """Write down why a life of a job ended before it began, where there is a record of the run."""
    _note_start(folder, reason_of(error), errors.exit_status(error))


def reason_of(error: BaseException) -> str:
    """Return the class of an error and what it says, in one line."""
    return ": ".join(filter(None, (type(error).__name__, errors.one_line(error))))


def _note_start(folder: RunFolder, reason: str, status: int) -> None:
    job = slurm_job()
    if job.job is not None and is_known(folder):
        start = {"job": job.job, "restart": job.restart}
        _note(folder, start | {"reason": reason, "status": status})


def _note(folder: RunFolder, end: dict[str, Any]) -> None:
    """Append an end, and on which node it was; it stands if it cannot be written down."""
    node = os.environ.get("SLURMD_NODENAME")
    try:
        node_too = {} if node is None else {"node": node}
        append_line(folder.ends, end | node_too, make_folder=False)
    except OSError as error:
        tell(f"warning: why this life ended cannot be written down: {error}")


class LifeRecord(Callback):
    """Writes down one life; the callbacks that write into the run folder come after it.

    Rank 0 calls `prepare` after the claim, before it writes the life down. Until then `life` is
    what was to be expected: of two starts at once the later one is a life more.
    """

    def __init__(
        self, folder: RunFolder, life: int, ownership: Ownership, prepare: Callable[[], None]
    ) -> None:
        self.folder, self.life = folder, life
        self.ownership, self.prepare = ownership, prepare
        self.suspended_s = 0.0  # in which this life stood still
        self._began_at = time.monotonic()
        self._begun: tuple[int, Learner] | None = None  # rank and module
        self._ended = False

    @property
    def has_begun(self) -> bool:
        """Whether this life has come to train."""
        return self._begun is not None

    @property
    def seconds(self) -> float:
        """Since this life began to train, without those in which it was suspended."""
        return time.monotonic() - self._began_at - self.suspended_s

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:
        """Claim the folder: rank 0 for all ranks."""
        claim = ""
        if trainer.is_global_zero:
            job = slurm_job()
            owner = read_json(self.folder.owner).get("life") or 0  # it may have no line yet
            self.life = 1 + max(count_lives(self.folder), int(owner))
            facts = {"life": self.life, "job": job.job, "restart": job.restart}
            claim = self.ownership.claim(facts)
            self.prepare()
            begun = {"life": self.life, "step": pl_module.step, "world_size": trainer.world_size}
            here = {"at": round(time.time()), "environment": environment(pl_module.device)}
            append_line(self.folder.lives, begun | job._asdict() | here, make_folder=False)
        claim, self.life = trainer.strategy.broadcast((claim, self.life))
        self.ownership.follow(claim)
        self._begun = trainer.global_rank, pl_module

    def end(self, reason: str, status: int) -> int:
        """Write down why a life that began ends, and return the status.

        Rank 0 always does, others if something went wrong. The first reason stays; what comes after
        it is a consequence.
        """
        ended, self._ended = self._ended, True
        if ended:
            return status
        if self._begun is None:
            if status not in (0, errors.REQUEUE):
                _note_start(self.folder, reason, status)
            return status
        rank, module = self._begun
        if rank == 0 or status not in (0, errors.REQUEUE):
            why = {"reason": f"rank {rank}: {reason}" if rank else reason, "status": status}
            ended_at = {"life": self.life, "step": module.step}
            times = {"seconds": round(self.seconds, 3)}
            if self.suspended_s:
                times["suspended_s"] = round(self.suspended_s, 3)
            _note(self.folder, ended_at | why | times)
        return status
