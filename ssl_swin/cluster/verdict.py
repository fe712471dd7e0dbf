"""Shall a job that ended be queued again? Standard library only; the batch script asks after srun.

Status 75 is a run that saved and asks to go on. A failure is worth another life only if this one
got further: it then was the machine, the network or the storage, and most likely not the run.
"""

import os
import signal
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from ssl_swin import errors
from ssl_swin.record.lines import append_line, read_json, read_lines
from ssl_swin.record.lives import last_step
from ssl_swin.record.run_folder import RunFolder

MAX_FAILURES = 3  # in a row that are answered with another life
STAY = 3  # exit status of this command: do not queue the job again
ENDED_BY_SIGNAL = (128 + signal.SIGTERM, 128 + signal.SIGUSR1)  # as shells and srun say it

Line = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """Whether to queue again, why, and what is remembered of it for the next time."""

    requeue: bool
    why: str
    record: dict[str, Any]


def verdict(run_dir: Path, status: int, max_restarts: int = 100) -> int:
    """Say whether a SLURM job that ended shall be queued again; batch scripts call this.

    Args:
        run_dir: The run's folder.
        status: What srun ended with.
        max_restarts: Times that SLURM may have started the job again.

    Returns:
        0 to queue it again, 3 not to.
    """
    job, restart = os.environ.get("SLURM_JOB_ID"), int(os.environ.get("SLURM_RESTART_COUNT", 0))
    found = decide(run_dir, status, job, restart, max_restarts)
    print(f"ssl-swin: {'queued again' if found.requeue else 'the end'}: {found.why}", flush=True)
    if run_dir.is_dir():
        append_line(RunFolder(run_dir).verdicts, found.record)
    return 0 if found.requeue else STAY


def decide(run_dir: Path, status: int, job: str | None, restart: int, max_restarts: int) -> Verdict:
    """Decide from the run folder's records; each of them may be missing."""
    folder = RunFolder(run_dir)
    lives, before = read_lines(folder.lives), read_lines(folder.verdicts)
    life = _this_life(lives, before, job, restart)
    number = None if life is None else life.get("life", len(lives))
    end = first_end(folder, number)
    if end.get("status") == errors.REQUEUE:
        status = errors.REQUEUE  # it had saved; a process that then hung in leaving lost nothing
    requeue, why = _judge(folder, status, life, end, before)
    if status == errors.LOST and not _is_ours(folder, job, restart):
        requeue, why = False, "a life that started later owns the run folder"
    if requeue and restart >= max_restarts:
        requeue, why = False, f"{why}, but SLURM started this job {restart} times again already"
    record = {"job": job, "restart": restart, "life": number, "status": status}
    return Verdict(requeue, why, record | {"requeue": requeue, "why": why})


def _judge(
    folder: RunFolder, status: int, life: Line | None, end: Line, before: list[Line]
) -> tuple[bool, str]:
    saved = last_step(folder)
    if status == 0:
        return False, "finished"
    if status == errors.REQUEUE:
        return True, f"asked to stop, saved at step {saved}"
    failed = f"failed with status {status}"
    if life is None and status in ENDED_BY_SIGNAL:
        return True, "asked to stop before it began"
    if end:
        failed += f" ({end.get('reason', 'no reason given')})"
    if status == errors.USER_ERROR:
        return False, f"{failed}: an error of the command or its config stays one"
    began = None if life is None else life.get("step", 0)
    if began is None or saved <= began:
        return False, f"{failed} before it saved anything new (last checkpoint: step {saved})"
    failures = takewhile(
        lambda line: line.get("requeue") and line.get("status") != errors.REQUEUE, reversed(before)
    )
    in_a_row = 1 + len([*failures])
    why = f"{failed}, but got from step {began} to {saved}; failure {in_a_row} in a row"
    return in_a_row <= MAX_FAILURES, f"{why}, at most {MAX_FAILURES} are tried again"


def first_end(folder: RunFolder, life: int | None) -> Line:
    """Return the first end that a life recorded; later ones are consequences of it."""
    return next((line for line in read_lines(folder.ends) if line.get("life") == life), {})


def _is_ours(folder: RunFolder, job: str | None, restart: int) -> bool:
    """Whether no other start owns the folder; by chance any process may end with LOST's number."""
    owner = read_json(folder.owner)
    claimed = str(owner.get("job")), int(owner.get("restart") or 0)
    return not owner or claimed == (str(job), restart)


def _this_life(lives: list[Line], before: list[Line], job: str | None, restart: int) -> Line | None:
    """Return the record of the life that just ended; None if it ended before it began to train."""
    if not lives:
        return None
    last = lives[-1]
    if last.get("job") is not None and job is not None:
        mine = str(last["job"]) == job and int(last.get("restart") or 0) == restart
        return last if mine else None
    judged = [line["life"] for line in before if line.get("life") is not None]
    return last if last.get("life", len(lives)) not in judged else None
