"""What a user asks of SLURM: from the command line, or else the cluster's small file."""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import yaml

from ssl_swin.command_line import take
from ssl_swin.config.run import KINDS
from ssl_swin.errors import UserError, nearest, usable

CLUSTER_FILE = Path("~/.config/ssl-swin/slurm.yaml")
_COMMAND_LINE_ONLY = ("array", "cluster", "dry_run")
_SEVERAL = ("sbatch", "srun")  # may stand in the file several times, as a list


@dataclass(frozen=True)
class Options:
    """Options of `ssl-swin submit`; None leaves the choice to the config or to SLURM."""

    nodes: str | None = None
    """Nodes: a number, or MIN-MAX; default: training.num_nodes."""
    gpus_per_node: int | None = None
    """GPUs of each node, one task each; default: training.devices, or 0 with
    training.accelerator=cpu."""
    tasks_per_node: int | None = None
    """Training processes of each node; default: the GPUs, or else training.devices."""
    cpus_per_task: int | None = None
    """CPUs of each task; default: data.num_workers + 1."""
    time: str = "24:00:00"
    """Time limit of one life, as SLURM writes it."""
    partition: str | None = None
    """Partition."""
    account: str | None = None
    """Account."""
    warning: int = 120
    """Seconds before the time limit at which to save."""
    max_restarts: int = 100
    """Times the job may be started again."""
    pause: int = 60
    """Seconds before the next life after one that came to nothing; nodes are not held meanwhile."""
    images_per_s: float | None = None
    """Images per second of the whole run, to estimate its hours with."""
    mtbf_h: float = 3.0
    """Hours between two failures of the job, on average, to say how often to save."""
    save_s: float | None = None
    """Seconds that training stands still for a save; default: as in the run so far, or a guess."""
    array: tuple[str, ...] = ()
    """Sweep: KEY=VALUE,VALUE ... of the config; one run folder for each combination."""
    sbatch: tuple[str, ...] = ()
    """A further option of sbatch: --sbatch=--mem=200G."""
    srun: tuple[str, ...] = ()
    """A further option of srun: --srun=--container-image=IMAGE."""
    setup: str = ""
    """Lines of shell that make the program available, for the script."""
    program: str | None = None
    """How the nodes call ssl-swin; default: this very Python."""
    node_cache: str = "/tmp"
    """Folder on each node's own disk; may hold a job's variables."""
    cluster: str | None = None
    """Another file of defaults than ~/.config/ssl-swin/slurm.yaml; both use these names."""
    dry_run: bool = False
    """Print the checks and the script, and stop there."""

    def __post_init__(self) -> None:
        least = {"gpus_per_node": 0, "tasks_per_node": 1, "cpus_per_task": 1, "max_restarts": 0}
        least |= {"pause": 0}
        for name, smallest in least.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                flag = name.replace("_", "-")
                raise UserError(f"--{flag} {value}: give a whole number, {smallest} or more")
        kinds = {"images_per_s": "a speed", "mtbf_h": "hours", "save_s": "seconds"}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                flag = name.replace("_", "-")
                raise UserError(f"--{flag} {value}: give {kind} greater than 0")


@dataclass(frozen=True)
class Stage:
    """One training that was asked for."""

    kind: str
    arguments: tuple[str, ...]
    """CONFIG and its settings."""
    options: Options


@dataclass(frozen=True)
class Request:
    """A command line of `ssl-swin submit`: stages, each after the success of the one before."""

    stages: tuple[Stage, ...]
    dry_run: bool

    @classmethod
    def read(cls, words: Sequence[str]) -> "Request":
        """Read `KIND CONFIG ... [--then KIND CONFIG ...]`; a stage begins with the options before.

        Raises:
            UserError: If it is incomplete, or the cluster's file is not one.
        """
        first, *others = _split(words)
        told, _ = _take(Options(), first)
        options, rest = _take(_from_file(told.cluster), first)
        stages = [_stage(rest, options)]
        for part in others:
            options, rest = _take(replace(options, array=(), cluster=None), part)
            if options.cluster or options.array:
                raise UserError("--cluster and --array go before --then")
            stages.append(_stage(rest, options))
        if told.array and others:
            raise UserError(
                "--array and --then cannot be combined: submit the second step by itself"
            )
        return cls(tuple(stages), options.dry_run)


def seconds(text: str) -> int:
    """Read a time as SLURM writes it: minutes, M:S, H:M:S, D-H, D-H:M or D-H:M:S.

    Raises:
        UserError: If it is none of these.
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if match is None:
        raise UserError(f"--time {text}: write it as SLURM does, such as 12:00:00 or 2-00:00:00")
    days, first, second, third = (int(part or 0) for part in match.groups())
    if match[1] or match[4]:
        return ((days * 24 + first) * 60 + second) * 60 + third
    return first * 60 + second  # a number alone is minutes


def _split(words: Sequence[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word == "--then":
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _take(defaults: Options, words: Sequence[str]) -> tuple[Options, list[str]]:
    name = "submit pretrain|finetune CONFIG [--key value ...] [--then finetune CONFIG ...]"
    about = "Check a run, write its batch script into the run folder, and sbatch it."
    return take(name, about, defaults, words)


def _stage(words: list[str], options: Options) -> Stage:
    no_file = len(words) > 1 and words[1].startswith("-")  # a fine-tuning needs none
    if len(words) < 2 or words[0] not in KINDS or (no_file and words[0] != "finetune"):
        raise UserError(
            "say what to submit: ssl-swin submit pretrain CONFIG (or finetune CONFIG), "
            f"not {' '.join(words[:2]) or 'nothing'}; see ssl-swin submit --help"
        )
    return Stage(words[0], tuple(words[1:]), options)


def _from_file(file: str | None) -> Options:
    """Read the cluster's file; each of its lines is what the flag of the same name would be."""
    place = Path(os.path.expanduser(file or CLUSTER_FILE))  # a user without a home has none
    if file is None and not place.is_file():
        return Options()
    try:
        # every value as text: else YAML reads 12:00:00 as a number
        with usable(f"--cluster {place}"):
            content = yaml.load(place.read_text(encoding="utf-8"), Loader=yaml.BaseLoader) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{place} is not YAML, mend it: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{place} must hold `key: value` lines, such as partition: gpu")
    allowed = [one.name for one in fields(Options) if one.name not in _COMMAND_LINE_ONLY]
    words = []
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in allowed:
            hint = nearest(name, allowed) or f"; known are {', '.join(allowed)}"
            raise UserError(f"{place}: unknown key {key}{hint}")
        several = value if isinstance(value, list) else [value]
        if isinstance(value, dict) or (isinstance(value, list) and name not in _SEVERAL):
            kind = "one value or a list of values" if name in _SEVERAL else "one value"
            raise UserError(f"{place}: {key} is {value!r}; give {kind}")
        words += [f"--{name.replace('_', '-')}={one}" for one in several]
    try:
        return _take(Options(), words)[0]
    except UserError as error:
        raise UserError(f"{place}: {error}") from error
