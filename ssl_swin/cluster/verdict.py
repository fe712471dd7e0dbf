"""Shall a job that ended be queued again? Standard library only; the batch script asks after srun.

Status 75 is a run that saved and asks to go on. Whatever else ended a life may have been the
machine, the network or the storage, and is tried again: a life that got further, and one that did
not, each have tries of their own. Only the same mistake of the user, twice, is the end at once.
"""

import os
import re
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from ssl_swin import errors
from ssl_swin.cluster.queue import without_nodes
from ssl_swin.record.lines import append_line, read_json, read_lines
from ssl_swin.record.lives import is_evaluation, is_known, last_step
from ssl_swin.record.run_folder import RunFolder

MAX_FAILURES = 3  # in a row that are answered with another life, of each of the two kinds
# exit statuses of this command, beside 0: do not queue the job again; the run has finished
STAY, FINISHED = 3, 4
ENDED_BY_SIGNAL = (128 + signal.SIGTERM, 128 + signal.SIGUSR1)  # as shells and srun say it

Line = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """Whether to queue again, why, and what is remembered of it for the next time."""

    requeue: bool
    why: str
    record: dict[str, Any]
    pauses: bool = False
    """Whether to wait before the next life: this one came to nothing."""
    node: str | None = None
    """The node that it came to nothing on, if that is known."""
    forgiven: frozenset[str] = frozenset()
    """Nodes that the job does without for failures that are over."""


def verdict(run_dir: Path, status: int, max_restarts: int = 100, pause: int = 60) -> int:
    """Say whether a SLURM job that ended shall be queued again; batch scripts call this.

    Why it is goes to stderr. What is to change of the queued job goes to stdout, as words for
    `scontrol update`. The verdict stands even if it cannot be written down.

    Args:
        run_dir: The run's folder.
        status: What srun ended with.
        max_restarts: Times that SLURM may have started the job again.
        pause: Seconds to wait after a life that got no further.

    Returns:
        0 to queue it again, 3 not to; 4 if the run has finished, also where srun says otherwise:
        a process was ended while it left.
    """
    job, restart = os.environ.get("SLURM_JOB_ID"), int(os.environ.get("SLURM_RESTART_COUNT", 0))
    try:
        found = decide(run_dir, status, job, restart, max_restarts)
    except OSError as error:
        found = _blindly(run_dir, status, restart < max_restarts, error)
    changes, why, record = _changes(found, job, pause)
    print(
        f"ssl-swin: {'queued again' if found.requeue else 'the end'}: {why}",
        file=sys.stderr,
        flush=True,
    )
    try:
        if is_known(RunFolder(run_dir)):  # else it is not mounted, or was never made
            append_line(RunFolder(run_dir).verdicts, record | {"why": why})
    except OSError as error:
        print(
            f"ssl-swin: this verdict stands, and cannot be written down: {error}", file=sys.stderr
        )
    print(*changes, flush=True)
    if found.requeue:
        return 0
    return FINISHED if record["status"] == 0 else STAY


def _changes(found: Verdict, job: str | None, pause: int) -> tuple[list[str], str, Line]:
    """Return what is to change of the queued job, why it is queued, and what is remembered."""
    changes, why, record = [], found.why, found.record
    if found.pauses:
        changes.append(f"StartTime=now+{pause}")
        why += f", after a pause of {pause} s"
    node = found.node if found.pauses else None
    if job is None or not found.requeue or not (node or found.forgiven):
        return changes, why, record
    nodes = without_nodes(job, node, found.forgiven)
    if nodes is not None:
        changes.append(f"ExcNodeList={nodes}")
        record = record | {"back": sorted(found.forgiven)}
    if node and nodes is not None:
        return changes, f"{why}, without node {node}", record | {"without": node}
    if node:
        why += f", on any node, {node} too: SLURM has too few"
    return changes, why, record


def _blindly(run_dir: Path, status: int, may_start: bool, error: OSError) -> Verdict:
    """Judge by the status alone, for the storage does not show the run folder."""
    requeue = status != 0 and may_start
    why = f"ended with status {status}, and {run_dir} cannot be read ({error.strerror or error})"
    return Verdict(requeue, why, {"status": status, "requeue": requeue}, requeue and status != 75)


def decide(run_dir: Path, status: int, job: str | None, restart: int, max_restarts: int) -> Verdict:
    """Decide from the run folder's records; each of them may be missing.

    Raises:
        OSError: If they cannot be read.
    """
    folder = RunFolder(run_dir)
    lives, before = read_lines(folder.lives), read_lines(folder.verdicts)
    life = _this_life(lives, before, job, restart)
    number = None if life is None else life.get("life", len(lives))
    end = failed_start(folder, job, restart) if number is None else first_end(folder, number)
    asked_early = life is None and status in ENDED_BY_SIGNAL
    if asked_early or end.get("status") in (0, errors.REQUEUE, errors.USER_ERROR):
        # It had saved, or finished; a process that then hung in leaving lost nothing. Or it was the
        # user's mistake, and the other ranks failed since one was gone.
        status = errors.REQUEUE if asked_early else end["status"]
    if is_evaluation(folder) and status not in (errors.REQUEUE, errors.USER_ERROR):
        status = 0 if _has_measured(folder) else status
    saved = last_step(folder)
    began = saved if life is None else life.get("step", 0)
    record = {"job": job, "restart": restart, "life": number, "status": status}
    record |= {"further": saved > began, "reason": end.get("reason")}
    if is_evaluation(folder):
        requeue, why = _judge(record, "what it computed is kept", "", before)
    else:
        got = f"but got from step {began} to {saved}"
        if not record["further"]:
            got = f"before it saved anything new (last checkpoint: step {saved})"
        requeue, why = _judge(record, f"saved at step {saved}", f", {got}", before)
    if asked_early:
        why = "asked to stop before it began"
    if status == errors.LOST and not _is_ours(folder, job, restart):
        requeue, why = False, "a life that started later owns the run folder"
    if requeue and restart >= max_restarts:
        requeue, why = False, f"{why}, but SLURM started this job {restart} times again already"
    record |= {"requeue": requeue, "why": why}
    pauses = requeue and status != errors.REQUEUE and not record["further"]
    forgiven = _out(before) - _out(_row([*before, record], further=False))
    return Verdict(requeue, why, record, pauses, _node(end), forgiven)


def _has_measured(folder: RunFolder) -> bool:
    """Whether an evaluation has written its numbers since it was queued.

    Then a process that was ended while it left took nothing with it.
    """
    with suppress(FileNotFoundError):
        return folder.summary.stat().st_mtime > folder.jobs.stat().st_mtime
    return False


def _judge(record: Line, saved: str, got: str, before: list[Line]) -> tuple[bool, str]:
    """Judge by status and reason; `saved` and `got` say how far it was."""
    status, reason = record["status"], record["reason"]
    if status == 0:
        return False, "finished"
    if status == errors.REQUEUE:
        return True, f"asked to stop, {saved}"
    failed = f"failed with status {status}" + (f" ({reason})" if reason else "")
    if status == errors.USER_ERROR and before and _same(record, before[-1]):
        return False, f"{failed}, as the life before: an error of the command or its config"
    in_a_row = 1 + len(_row(before, record["further"]))
    why = f"{failed}{got}; failure {in_a_row} in a row"
    why += f", at most {MAX_FAILURES} are tried again"
    why += "; the same once more is the end" if status == errors.USER_ERROR else ""
    return in_a_row <= MAX_FAILURES, why


def _row(before: list[Line], further: bool) -> list[Line]:
    """Return the failures right before that were tried again, of one kind, the last first.

    A life that got further ends a row of lives that did not. It goes by the last life that was
    asked to stop for both. Releases before 0.2 only tried lives again that got further.
    """
    failures = takewhile(
        lambda line: line.get("requeue") and line.get("status") != errors.REQUEUE, reversed(before)
    )
    if further:
        return [line for line in failures if line.get("further", True)]
    return [*takewhile(lambda line: not line.get("further", True), failures)]


def _out(lines: list[Line]) -> frozenset[str]:
    """Return the nodes that a job does without after these verdicts."""
    out: set[str] = set()
    for line in lines:
        out = out - {*line.get("back", ())} | ({line["without"]} if "without" in line else set())
    return frozenset(out)


def _same(record: Line, line: Line) -> bool:
    """Whether a life ended as the one before; of a life that left no reason, of the same job."""
    names = ("status",) if record["reason"] else ("status", "job")
    same = all(record[name] == line.get(name) for name in names)
    return same and _words(record["reason"]) == _words(line.get("reason"))


def _words(reason: str | None) -> str:
    """Return a reason without its rank and its bytes, in which lives that end alike may differ."""
    return re.sub(r"^rank \d+: |[\d.]+ [kMGT]?B\b", "", reason or "")


def _node(end: Line) -> str | None:
    """Return where a life failed first; of a job on one node, there."""
    alone = os.environ.get("SLURM_JOB_NUM_NODES") == "1"
    return end.get("node") or (os.environ.get("SLURMD_NODENAME") if alone else None)


def failed_start(folder: RunFolder, job: str | None, restart: int) -> Line:
    """Return the first end that a start of a job recorded before its life began."""
    start = (None, job, restart)
    for line in read_lines(folder.ends):
        if (line.get("life"), line.get("job"), line.get("restart")) == start:
            return line
    return {}


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
