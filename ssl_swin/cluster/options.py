"""What a user asks of SLURM: from the command line, or else the cluster's small file."""

import math
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import yaml

from ssl_swin.command_line import take
from ssl_swin.config.run import KINDS
from ssl_swin.config.twice import keys_twice
from ssl_swin.errors import UserError, nearest, usable

EVALUATE = "evaluate"  # the one kind of a stage that trains nothing
CLUSTER_FILE = Path("~/.config/ssl-swin/slurm.yaml")
_COMMAND_LINE_ONLY = ("array", "cluster", "dry_run")
_SEVERAL = ("sbatch", "srun")  # may stand in the file several times, as a list


@dataclass(frozen=True)
class Options:
    """Options of `ssl-swin submit`; None leaves the choice to the config or to SLURM."""

    nodes: str | None = None
    """Nodes: a number, or MIN-MAX; default: training.num_nodes; of an evaluation, 1."""
    gpus_per_node: int | None = None
    """GPUs of each node, one task each; default: training.devices, or 0 with
    training.accelerator=cpu; of an evaluation, 1, or 0 with --device=cpu."""
    tasks_per_node: int | None = None
    """Processes of each node; default: the GPUs, or else training.devices."""
    cpus_per_task: int | None = None
    """CPUs of each task; default: data.num_workers + 1; of an evaluation, 8."""
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

    def num_nodes(self, usual: int) -> tuple[int, int]:
        """Return the fewest and the most nodes, `usual` if nothing is said.

        Raises:
            UserError: If what is said is no number of nodes.
        """
        text = self.nodes or str(usual)
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
        fewest, most = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= fewest <= most:
            raise UserError(f"--nodes {text}: give a number, or MIN-MAX such as 2-4")
        return fewest, most

    def per_node(self, devices: int, on_gpu: bool) -> tuple[int, int]:
        """Return GPUs and tasks of each node, `devices` if nothing is said.

        Raises:
            UserError: If there is not a task for each GPU.
        """
        gpus = self.gpus_per_node
        if gpus is None:
            gpus = devices if on_gpu else 0
        tasks = self.tasks_per_node or gpus or devices
        if gpus and tasks != gpus:
            raise UserError(
                f"--tasks-per-node {tasks} and --gpus-per-node {gpus}: one task each, leave one out"
            )
        return gpus, tasks

    def how_called(self) -> tuple[str, ...]:
        """Return how the nodes call the program."""
        this_python = shlex.join([sys.executable, "-m", "ssl_swin"])
        return tuple(shlex.split(self.program or this_python))

    def of_evaluation(self) -> "Options":
        """Return them for an evaluation, which takes no more of a cluster than it asks for."""
        gpus = 0 if self.gpus_per_node == 0 else None
        return replace(self, nodes=None, tasks_per_node=None, gpus_per_node=gpus)


@dataclass(frozen=True)
class Stage:
    """One training or evaluation that was asked for."""

    kind: str
    arguments: tuple[str, ...]
    """CONFIG and its settings; of an evaluation its words."""
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
        options = _from_file(told.cluster)
        stage, options = _stage(first, options)
        stages = [stage]
        for part in others:
            stage, options = _stage(part, replace(options, array=(), cluster=None))
            if stage.options.cluster or stage.options.array:
                raise UserError("--cluster and --array go before --then")
            stages.append(stage)
        if told.array and others:
            raise UserError(
                "--array and --then cannot be combined: submit the second step by itself"
            )
        return cls(tuple(stages), any(one.options.dry_run for one in stages))


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
    name = "submit pretrain|finetune CONFIG [--key value ...]"
    name += " [--then pretrain|finetune CONFIG ...]"
    name += " [--then evaluate [WHAT ...] --data SHARDS --test SHARDS]"
    about = "Check a run, write its batch script into the run folder, and sbatch it. Or check and "
    about += "queue an evaluation: submit evaluate WHAT ... --data SHARDS --test SHARDS."
    return take(name, about, defaults, words)


def _stage(words: list[str], before: Options) -> tuple[Stage, Options]:
    """Read a stage that begins with the options `before`; return it and those that the next has."""
    options, rest = _take(before, words)
    kind = rest[0] if rest else ""
    if kind == EVALUATE and len(rest) > 1:
        own, _ = _take(before.of_evaluation(), words)
        if own.array:
            raise UserError("--array sweeps a config, an evaluation has none: give several WHAT")
        return Stage(kind, tuple(rest[1:]), own), before
    no_file = len(rest) > 1 and rest[1].startswith("-")  # a fine-tuning needs none
    if len(rest) < 2 or kind not in KINDS or (no_file and kind != "finetune"):
        raise UserError(
            "say what to submit: ssl-swin submit pretrain CONFIG (or finetune CONFIG, or evaluate "
            f"WHAT --data SHARDS), not {' '.join(rest[:2]) or 'nothing'}; see ssl-swin submit "
            "--help"
        )
    return Stage(kind, tuple(rest[1:]), options), options


def _from_file(file: str | None) -> Options:
    """Read the cluster's file; each of its lines is what the flag of the same name would be."""
    place = Path(os.path.expanduser(file or CLUSTER_FILE))  # a user without a home has none
    if file is None and not place.is_file():
        return Options()
    try:
        # every value as text: else YAML reads 12:00:00 as a number
        with usable(f"--cluster {place}"):
            text = place.read_text(encoding="utf-8")
        content = yaml.load(text, Loader=yaml.BaseLoader) or {}
        twice = next(keys_twice(text), None)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{place} is not YAML, mend it: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{place} must hold `key: value` lines, such as partition: gpu")
    if twice is not None:
        raise UserError(f"{place}: {twice} stands there twice; leave one of them out")
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
