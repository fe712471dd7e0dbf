"""What is known of one run, read from its folder while it may still be written to."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from ssl_swin.errors import REQUEUE
from ssl_swin.phases import duration
from ssl_swin.record.lines import read_json, read_lines
from ssl_swin.record.loaded import Loaded, read_loaded
from ssl_swin.record.owner import lives_here
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.settings import read_config
from ssl_swin.record.summary import Summary

OTHER_TASKS = ("multi-label", "regression")
FRESH_S = 600.0  # a run whose curves grew in these seconds goes on
_TONES: dict[Any, str] = {0: "finished", REQUEUE: "stopped"}  # by a life's exit status


class State(NamedTuple):
    """Whether a run goes on."""

    word: str  # finished, running, stopped, failed, silent, queued
    said: str  # why, or since when; may be empty


@dataclass(frozen=True)
class Life:
    """One start of a run."""

    number: int
    begin: int  # step
    end: int  # step, as far as is known
    processes: int
    tone: str  # finished, stopped, failed, silent or running: what it is coloured by
    why: str  # it ended
    seconds: float | None  # of a last one that did not say, until its last word; None if unknown
    place: str  # SLURM's job and nodes


@dataclass(frozen=True, eq=False)
class Story:
    """A run as its folder tells it; `number` gives it a colour."""

    folder: RunFolder
    name: str
    number: int
    summary: Summary | None
    points: list[dict[str, float]]  # by step; names as in metrics.jsonl
    config: dict[str, Any]  # flat, with dotted names
    environment: dict[str, str]  # of the last life that wrote it down
    lives: list[Life]
    state: State
    loaded: Loaded | None = None  # what became of the weights that it began with

    @property
    def kind(self) -> str:
        """`pretrain` or `finetune`."""
        if self.summary is not None:
            return self.summary.kind
        return "finetune" if "num_classes" in self.config else "pretrain"

    @property
    def task(self) -> str:
        """What a fine-tuning learns, if that is not one class of each image; else its kind."""
        task = str(self.config.get("task") or (self.summary and self.summary.task))
        return task if self.kind == "finetune" and task in OTHER_TASKS else self.kind

    @property
    def step(self) -> int:
        """Steps done."""
        if self.summary is not None:
            return self.summary.step
        return int(max([point["step"] for point in self.points], default=0))

    @cached_property
    def num_steps(self) -> int | None:
        """Steps of the whole run, as far as it can be told."""
        if self.summary is not None:
            return self.summary.step
        epochs, done = self.config.get("optim.epochs"), self.last("train/epoch")
        at = next((p["step"] for p in reversed(self.points) if "train/epoch" in p), 0)
        return round(at / done * epochs) if done and isinstance(epochs, int | float) else None

    @property
    def seconds(self) -> float:
        """Training time of all lives that told theirs."""
        told = sum(life.seconds or 0.0 for life in self.lives)
        return told or (self.summary.seconds if self.summary else 0.0)

    @property
    def device_hours(self) -> float:
        """Hours of all processes, each of which has a device."""
        told = sum((life.seconds or 0.0) * life.processes for life in self.lives)
        return (told or self.seconds) / 3600

    @property
    def device(self) -> str:
        """`GPU`, `CPU`, or `device` if the run does not say which."""
        asked = str(self.config.get("training.accelerator"))
        names = {name for point in self.points for name in point if name.startswith("memory/")}
        known = "memory/peak_allocated_gb" in names or "GPU" in self.environment
        if known or asked in ("gpu", "cuda"):
            return "GPU"
        return "CPU" if "memory/peak_resident_gb" in names or asked == "cpu" else "device"

    def curve(self, name: str) -> list[tuple[float, float]]:
        """Return steps and values of a point."""
        return [(point["step"], point[name]) for point in self.points if name in point]

    def last(self, name: str) -> float | None:
        """Return the last value of a point."""
        return next((p[name] for p in reversed(self.points) if name in p), None)


def read_story(folder: RunFolder, name: str, number: int, summary: Summary | None) -> Story:
    """Read a run; whatever is missing, cut off or damaged beside its lives is left out."""
    lines = read_lines(folder.lives)
    points = _points(folder)
    alive = summary is None and _is_alive(folder)
    step = summary.step if summary else max([point["step"] for point in points], default=0)
    lives = list(_lives(folder, lines, int(step), alive))
    told = [line["environment"] for line in lines if isinstance(line.get("environment"), dict)]
    environment = {str(fact): str(value) for fact, value in (told[-1] if told else {}).items()}
    return Story(
        folder,
        name,
        number,
        summary,
        points,
        read_config(folder),
        _environment(folder, lines) | environment,
        lives,
        _state(folder, lives, summary),
        read_loaded(folder),
    )


def _points(folder: RunFolder) -> list[dict[str, float]]:
    """Return the numbers of each line, by step; a line without a step is left out."""
    found = (
        {name: value for name, value in line.items() if _is_number(value)}
        for line in read_lines(folder.metrics)
    )
    return sorted((point for point in found if "step" in point), key=lambda point: point["step"])


def _is_number(value: Any) -> bool:
    is_plain = isinstance(value, int | float) and not isinstance(value, bool)
    return is_plain and math.isfinite(value)


def _is_alive(folder: RunFolder) -> bool:
    return lives_here(folder.owner) or time.time() - _written_at(folder) < FRESH_S


def _written_at(folder: RunFolder) -> float:
    """Return when a run last wrote down where it is."""
    files = (folder.metrics, folder.lives, folder.checkpoints, folder.jobs)
    return max((file.stat().st_mtime for file in files if file.is_file()), default=0.0)


def _lives(
    folder: RunFolder, lines: list[dict[str, Any]], last_step: int, alive: bool
) -> Iterator[Life]:
    ends: dict[Any, dict[str, Any]] = {}
    for end in read_lines(folder.ends):
        ends.setdefault(end.get("life"), end)  # what comes after the first is a consequence
    for place, line in enumerate(lines):
        number, begin = line.get("life", place + 1), _whole(line.get("step"), 0)
        end = ends.get(number, {})
        is_last = place == len(lines) - 1
        until = last_step if is_last else max(begin, _whole(lines[place + 1].get("step"), begin))
        if end:
            status = end.get("status")
            tone = _TONES.get(status, "failed")
            why = str(end.get("reason", "it did not say why"))
        else:
            tone, why = (
                ("running", "goes on") if is_last and alive else ("silent", "it did not say")
            )
        yield Life(
            _whole(number, place + 1),
            begin,
            _whole(end.get("step"), max(begin, until)),
            _whole(line.get("world_size"), 1),
            tone,
            why,
            _seconds(folder, line, end, is_last),
            ", ".join(_where(line, end)),
        )


def _seconds(
    folder: RunFolder, line: dict[str, Any], end: dict[str, Any], is_last: bool
) -> float | None:
    if _is_number(end.get("seconds")):
        return float(end["seconds"])
    if end or not is_last or not _is_number(line.get("at")):
        return None
    return max(0.0, _written_at(folder) - line["at"])


def _whole(value: Any, otherwise: int) -> int:
    return int(value) if _is_number(value) else otherwise


def _where(line: dict[str, Any], end: dict[str, Any]) -> Iterator[str]:
    if line.get("job"):
        yield f"job {line['job']}" + (f", restart {line['restart']}" if line.get("restart") else "")
    nodes = line.get("nodes") or end.get("node")
    if nodes:
        yield f"on {','.join(map(str, nodes)) if isinstance(nodes, list) else nodes}"


def _state(folder: RunFolder, lives: list[Life], summary: Summary | None) -> State:
    if summary is not None:
        return State("finished", "")
    if not lives:
        return State("queued", "no life has begun yet")
    last = lives[-1]
    if last.tone == "silent":
        ago = duration(time.time() - _written_at(folder))
        return State("silent", f"killed, or on another machine: its last word is {ago} old")
    if last.tone == "finished":
        return State("stopped", f"{last.why}, and there is no summary.json")
    return State(last.tone, "" if last.tone == "running" else last.why)


def _environment(folder: RunFolder, lines: list[dict[str, Any]]) -> dict[str, str]:
    """Return what other files tell of where a run was: for runs whose lives do not."""
    owner, card = read_json(folder.owner), read_json(folder.root / "encoder.json")
    last = lines[-1] if lines else {}
    nodes = last.get("nodes") or owner.get("host")
    facts = {
        "commit": card.get("commit"),
        "nodes": ",".join(map(str, nodes)) if isinstance(nodes, list) else nodes,
        "processes": last.get("world_size"),
        "SLURM job": last.get("job"),
    }
    return {name: str(value) for name, value in facts.items() if value is not None}
