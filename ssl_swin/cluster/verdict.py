"""Shall a job that ended be queued again? Standard library only; the batch script asks after srun.

Status 75 is a run that saved and asks to go on. A failure is worth another life only if this one
got further: it then was the machine, the network or the storage, and most likely not the run.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ASKS_FOR_MORE, USER_ERROR, LOST = 75, 2, 3  # exit statuses of a run
MAX_FAILURES = 3  # in a row that are answered with another life
STAY = 3  # exit status of this command: do not queue the job again

Lines = list[dict[str, Any]]


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
        with (run_dir / "verdicts.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(found.record) + "\n")
    return 0 if found.requeue else STAY


def decide(run_dir: Path, status: int, job: str | None, restart: int, max_restarts: int) -> Verdict:
    """Decide from the run folder's records, of which each may be missing."""
    lives, before = read_lines(run_dir / "lives.jsonl"), read_lines(run_dir / "verdicts.jsonl")
    life = _this_life(lives, before, job, restart)
    number = None if life is None else life.get("life", len(lives))
    record = {"job": job, "restart": restart, "life": number, "status": status}
    owned = _is_owned(run_dir, job, restart)
    requeue, why = _judge(run_dir, status, life, before, owned)
    if requeue and restart >= max_restarts:
        requeue, why = False, f"{why}, but SLURM started this job {restart} times again already"
    return Verdict(requeue, why, record | {"requeue": requeue, "why": why})


def _judge(
    run_dir: Path, status: int, life: dict[str, Any] | None, before: Lines, owned: bool
) -> tuple[bool, str]:
    saved = last_step(run_dir)
    if status == 0:
        return False, "finished"
    if status == ASKS_FOR_MORE:
        return True, f"asked to stop, saved at step {saved}"
    failed = f"failed with status {status}{_reason(run_dir, life)}"
    if status == USER_ERROR:
        return False, f"{failed}: an error of the command or its config stays one"
    if status == LOST and not owned:  # any process may end with such a number
        return False, "a life that started later owns the run folder"
    began = None if life is None else life.get("step", 0)
    if began is None or saved <= began:
        return False, f"{failed} before it saved anything new (last checkpoint: step {saved})"
    in_a_row = 1 + _failures_at_the_end(before)
    why = f"{failed}, but got from step {began} to {saved}; failure {in_a_row} in a row"
    return in_a_row <= MAX_FAILURES, f"{why}, at most {MAX_FAILURES} are tried again"


def _is_owned(run_dir: Path, job: str | None, restart: int) -> bool:
    """Whether no life of another job, or of another start of this one, has claimed the folder."""
    owner = read_json(run_dir / "owner.json")
    claimed = str(owner.get("job")), int(owner.get("restart") or 0)
    return not owner or claimed == (str(job), restart)


def _this_life(lives: Lines, before: Lines, job: str | None, restart: int) -> dict[str, Any] | None:
    """Return the record of the life that just ended; None if it ended before it began to train."""
    if not lives:
        return None
    last = lives[-1]
    if last.get("job") is not None and job is not None:
        mine = str(last["job"]) == job and int(last.get("restart") or 0) == restart
        return last if mine else None
    judged = [line["life"] for line in before if line.get("life") is not None]
    return last if last.get("life", len(lives)) not in judged else None


def _failures_at_the_end(before: Lines) -> int:
    count = 0
    for line in reversed(before):
        if line.get("status") == ASKS_FOR_MORE or not line.get("requeue"):
            break
        count += 1
    return count


def _reason(run_dir: Path, life: dict[str, Any] | None) -> str:
    ends = read_lines(run_dir / "ends.jsonl")
    if not ends or life is None or ends[-1].get("life") != life.get("life"):
        return ""
    return f" ({ends[-1].get('reason', 'no reason given')})"


def last_step(run_dir: Path) -> int:
    """Return the step of the last checkpoint, 0 if there is none."""
    saved = read_lines(run_dir / "checkpoints.jsonl")
    return int(saved[-1].get("step", 0)) if saved else 0


def read_lines(path: Path) -> Lines:
    """Read JSON lines; what a killed process did not finish, or a missing file, is passed over."""
    if not path.is_file():
        return []
    found = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict):
            found.append(line)
    return found


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of one JSON object; nothing where there is none, or it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
