"""`ssl-swin status`: where every run stands, from its folder and from SLURM where that answers."""

import math
import time
from pathlib import Path
from typing import Any

from ssl_swin.cluster.queue import JobState, look_up
from ssl_swin.cluster.verdict import Line, first_end
from ssl_swin.phases import duration
from ssl_swin.record.lines import read_json, read_lines
from ssl_swin.record.lives import is_evaluation, last_step
from ssl_swin.record.measures import MEASURES, heldout_told
from ssl_swin.record.owner import lives_here
from ssl_swin.record.report import find_runs
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.settings import read_config
from ssl_swin.record.work import Smaller, share_at, work_of

_CLEAR = "\033[H\033[2J"


def status(*runs: Path, watch: bool = False, every: float = 10) -> None:
    """Say of every run where it is, how its lives ended, and how far it got.

    Args:
        runs: Runs, or folders above them; left out, `runs`.
        watch: Say it again and again.
        every: Seconds between, with --watch.

    Raises:
        UserError: If there is no run.
    """
    while True:
        folders = find_runs(runs or (Path("runs"),), evaluations=True)
        text = "\n\n".join(map(describe, folders))
        print(f"{_CLEAR}{time.ctime()}\n\n{text}" if watch else text, flush=True)
        if not watch:
            return
        time.sleep(every)


def describe(folder: RunFolder) -> str:
    """Return what is known of one run, as a few lines; what is not known is left out.

    An evaluation that was queued is told with its run, or alone if it is asked for.
    """
    if is_evaluation(folder):
        return _evaluation(folder)
    lives = read_lines(folder.lives)
    job, state = _job(folder, lives)
    unknown = "job unknown to SLURM" if job else "no job"
    standing = unknown if state is None else state.state
    if folder.summary.is_file():
        standing = "finished"
    lines = [" ".join([f"{folder.root}:", standing, *_place(job, state, lives)])]
    alive = state is not None and state.alive and state.state != "PENDING"
    alive = alive or lives_here(folder.owner)
    lines += [_life(one, lives, folder, alive) for one in range(len(lives))]
    lines += _verdict(folder, lives)
    beside = map(RunFolder, sorted(folder.evaluation("").glob("*")))
    told = [_evaluation(one) for one in beside if read_lines(one.jobs)]
    return "\n  ".join([*lines, *_progress(folder), *_saved(folder), *told])


def _evaluation(folder: RunFolder) -> str:
    """Say in one line where an evaluation stands that was queued."""
    job, state = _job(folder, [])
    judged = [line for line in read_lines(folder.verdicts) if str(line.get("job")) == job]
    why = judged[-1:]
    by_hand = job is None and folder.summary.is_file()
    if by_hand or any(line.get("status") == 0 for line in judged):
        standing, why = "finished", []
    elif state is None:
        standing = "job unknown to SLURM" if job else "no job"
    else:
        standing = state.state
    text = " ".join([f"evaluation {folder.root}: {standing}", *_place(job, state, [])])
    return "; ".join([text, *map(_told, why)])


def _job(folder: RunFolder, lives: list[Line]) -> tuple[str | None, JobState | None]:
    """Return the run's job and its state: the one that lives, or else the latest."""
    owners = [*(line.get("job") for line in lives), read_json(folder.owner).get("job")]
    submitted = [line.get("job") for line in read_lines(folder.jobs)]
    latest = [str(jobs[-1]) for jobs in (submitted, owners) if jobs and jobs[-1] is not None]
    states = {job: look_up(job) for job in latest}
    alive = [job for job, state in states.items() if state is not None and state.alive]
    job = next(iter([*alive, *reversed(latest)]), None)  # what began may have been sbatched by hand
    return job, None if job is None else states[job]


def _place(job: str | None, state: JobState | None, lives: list[Line]) -> list[str]:
    words = [] if job is None else [f"job {job}"]
    if lives and lives[-1].get("restart"):
        words.append(f"restart {lives[-1]['restart']}")
    if state is not None:
        words += [f"on {state.nodes}"] if state.nodes else []
        words += [f"({state.reason})"] if state.reason else []
        words += [f"{state.left} to its limit"] if state.left and state.state == "RUNNING" else []
    return words


def _life(place: int, lives: list[Line], folder: RunFolder, alive: bool) -> str:
    life = lives[place]
    number = life.get("life", place + 1)
    text = f"life {number}: from step {life.get('step', '?')}"
    if "world_size" in life:
        text += f" on {life['world_size']} processes"
    if nodes := life.get("nodes"):
        text += f", nodes {','.join(nodes) if isinstance(nodes, list) else nodes}"
    if end := first_end(folder, number):
        step = f" at step {end['step']}" if "step" in end else ""
        return f"{text}; ended{step}: {end.get('reason', 'no reason given')}"
    if place == len(lives) - 1 and (alive or folder.summary.is_file()):
        return f"{text}; {'finished' if folder.summary.is_file() else 'runs'}"
    judged = (one for one in read_lines(folder.verdicts) if one.get("life") == number)
    status = next((f", status {one['status']}" for one in judged if "status" in one), "")
    return f"{text}; ended without a word (killed{status})"


def _verdict(folder: RunFolder, lives: list[Line]) -> list[str]:
    """Return the last verdict, unless another life has begun since, or the run is finished."""
    found = read_lines(folder.verdicts)
    if not found or folder.summary.is_file() or not _is_of(found[-1], lives):
        return []
    return [_told(found[-1])]


def _told(verdict: Line) -> str:
    word = "queued again" if verdict.get("requeue") else "not queued again"
    return f"{word}: {verdict.get('why', '')}"


def _is_of(verdict: Line, lives: list[Line]) -> bool:
    """Whether a verdict is of the last life, or of a start after it that never became one."""
    if not lives:
        return True
    if (number := verdict.get("life")) is not None:
        return number == lives[-1].get("life", len(lives))
    last, start = ((line.get("job"), line.get("restart") or 0) for line in (lives[-1], verdict))
    if start[0] == last[0]:
        return start[1] > last[1]
    return start[0] not in [line.get("job") for line in lives]


def _smaller(config: dict[str, Any], steps_per_epoch: float) -> list[Smaller]:
    """Return the steps whose images are smaller, if they grow."""

    def pixels(size: Any) -> int:
        return math.prod(size) if isinstance(size, list) else int(size) ** 2

    def read(one: Any) -> Smaller:
        share = pixels(one["img_size"]) / pixels(config["model.img_size"])
        return Smaller(round(one["until_epoch"] * steps_per_epoch), share)

    try:
        return [read(one) for one in config.get("progressive") or ()]
    except (KeyError, TypeError, ValueError):  # of a config that is cut off
        return []


def _progress(folder: RunFolder) -> list[str]:
    """Return step, epoch, loss, speed and the time that is left, by the last point of each."""
    last: dict[str, Any] = {}
    for line in read_lines(folder.metrics):
        last.update(line)
    step, epoch = last.get("step"), last.get("train/epoch")
    if step is None:
        return []
    config = read_config(folder)
    epochs, batch = config.get("optim.epochs"), config.get("training.global_batch_size")
    of = total = ""
    speed, left = last.get("speed/images_per_s"), ""
    if epoch and epochs:
        stop_step = round(step / epoch * epochs)
        of, total = f" of {stop_step:,d}", f" of {epochs}"
        if speed and batch and not folder.summary.is_file():
            smaller = _smaller(config, step / epoch)
            steps = work_of(stop_step, smaller) - work_of(step, smaller)
            seconds = steps / share_at(step - 1, smaller) * batch / speed
            left = f"about {duration(seconds)} of training left"
    words = [
        f"step {step:,d}{of}",
        f"epoch {epoch:.2f}{total}" if epoch is not None else "",
        f"loss {last['train/loss']:.4f}" if "train/loss" in last else "",
        _heldout(last),
        f"{speed:,.0f} images/s" if speed else "",
        left,
    ]
    return [", ".join(word for word in words if word)]


def _heldout(last: dict[str, Any]) -> str:
    """Say what was last measured of held-out images."""
    found = {name: last.get(f"heldout/{name}") for name in MEASURES}
    found |= {f"best_{name}": last.get(f"heldout/best_{name}") for name in MEASURES}
    is_measured = any(one is not None for one in found.values())
    return f"held-out: {heldout_told(found)}" if is_measured else ""


def _saved(folder: RunFolder) -> list[str]:
    if not folder.last.is_file():
        return []
    age = duration(time.time() - folder.last.stat().st_mtime)
    return [f"last checkpoint: step {last_step(folder):,d}, {age} ago"]
