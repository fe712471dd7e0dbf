"""What a user asks of SLURM: from the command line, or else the cluster's small file."""

import argparse
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

CLUSTER_FILE = Path("~/.config/ssl-swin/slurm.yaml")


def _option(text: str, default: Any = None, kind: type = str, in_file: bool = True) -> Any:
    return field(default=default, metadata={"help": text, "kind": kind, "in_file": in_file})


@dataclass(frozen=True)
class Options:
    """Options of `ssl-swin submit`; None leaves the choice to the config or to SLURM."""

    nodes: str | None = _option("Nodes: a number, or MIN-MAX; default: training.num_nodes.")
    gpus_per_node: int | None = _option(
        "GPUs of each node, one task each; default: training.devices, or 0 with "
        "training.accelerator=cpu.",
        kind=int,
    )
    tasks_per_node: int | None = _option(
        "Training processes of each node; default: the GPUs, or else training.devices.", kind=int
    )
    cpus_per_task: int | None = _option(
        "CPUs of each task; default: data.num_workers + 1.", kind=int
    )
    time: str = _option("Time limit of one life, as SLURM writes it.", "24:00:00")
    partition: str | None = _option("Partition.")
    account: str | None = _option("Account.")
    warning: int = _option("Seconds before the time limit at which to save.", 120, int)
    max_restarts: int = _option("Times the job may be started again.", 100, int)
    images_per_s: float | None = _option(
        "Images per second of the whole run, to estimate its hours with.", kind=float
    )
    array: tuple[str, ...] = _option(
        "Sweep: KEY=VALUE,VALUE ... of the config; one run folder for each combination.",
        (),
        in_file=False,
    )
    sbatch: tuple[str, ...] = _option("A further option of sbatch: --sbatch=--mem=200G.", ())
    srun: tuple[str, ...] = _option("A further option of srun: --srun=--container-image=IMAGE.", ())
    setup: str = _option("Lines of shell that make the program available, for the script.", "")
    program: str | None = _option("How the nodes call ssl-swin; default: this very Python.")
    node_cache: str = _option("Folder on each node's own disk; may hold a job's variables.", "/tmp")


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


def read_request(arguments: Sequence[str]) -> Request:
    """Read `submit KIND CONFIG ... [--then KIND CONFIG ...]`.

    Raises:
        ValueError: If it is incomplete, or the cluster's file is not one.
    """
    first, *others = _split([word for word in arguments if word != "--dry-run"])
    parser = _parser()
    given, rest = parser.parse_known_args(first)
    options = _merged(_from_file(given.cluster), given)
    stages = [_stage(rest, options)]
    for words in others:
        later, rest = parser.parse_known_args(words)
        if later.cluster or "array" in later:
            raise ValueError("--cluster and --array go before --then")
        stages.append(_stage(rest, _merged(options, later)))
    if options.array and others:
        raise ValueError("--array and --then cannot be combined: submit the second step by itself")
    return Request(tuple(stages), "--dry-run" in arguments)


def seconds(text: str) -> int:
    """Read a time as SLURM writes it: minutes, M:S, H:M:S, D-H, D-H:M or D-H:M:S.

    Raises:
        ValueError: If it is none of these.
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if match is None:
        raise ValueError(f"--time {text}: write it as SLURM does, such as 12:00:00 or 2-00:00:00")
    days, first, second, third = (int(part or 0) for part in match.groups())
    if match[1] or match[4]:
        return ((days * 24 + first) * 60 + second) * 60 + third
    return first * 60 + second  # a number alone is minutes


def _split(arguments: Sequence[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in arguments:
        if word == "--then":
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _stage(words: list[str], options: Options) -> Stage:
    if len(words) < 2 or words[0] not in ("pretrain", "finetune") or words[1].startswith("-"):
        raise ValueError(
            "say what to submit: ssl-swin submit pretrain CONFIG (or finetune CONFIG), "
            f"not {' '.join(words[:2]) or 'nothing'}; see ssl-swin submit --help"
        )
    return Stage(words[0], tuple(words[1:]), options)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, raised."""

    def error(self, message: str) -> Any:
        """Raise what is wrong.

        Raises:
            ValueError: Always.
        """
        raise ValueError(message)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="ssl-swin submit",
        usage="ssl-swin submit pretrain|finetune CONFIG [--key value ...] [options] "
        "[--then finetune CONFIG ...]",
        description="Check a run, write its batch script into the run folder, and sbatch it.",
        epilog=f"Defaults of a cluster, with the same names, are in {CLUSTER_FILE}.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    for one in fields(Options):
        several = one.default == ()
        parser.add_argument(
            f"--{one.name.replace('_', '-')}",
            type=one.metadata["kind"],
            action="append" if several else "store",
            help=one.metadata["help"] + (" May be repeated." if several else ""),
        )
    parser.add_argument("--cluster", type=Path, default=None, help="Another file of defaults.")
    parser.add_argument(
        "--dry-run", action="store_true", help="Print the checks and the script, and stop there."
    )
    return parser


def _merged(options: Options, given: argparse.Namespace) -> Options:
    known = {one.name: one for one in fields(Options)}
    values = {name: value for name, value in vars(given).items() if name in known}
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = (*getattr(options, name), *value)
    return replace(options, **values)


def _from_file(path: Path | None) -> Options:
    place = (path or CLUSTER_FILE).expanduser()
    if path is None and not place.is_file():
        return Options()
    try:
        # every value as text: else YAML reads 12:00:00 as a number
        content = yaml.load(place.read_text(encoding="utf-8"), Loader=yaml.BaseLoader) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{place} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{place} holds no `key: value` lines")
    allowed = {one.name: one for one in fields(Options) if one.metadata["in_file"]}
    values = {}
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in allowed:
            close = difflib.get_close_matches(name, allowed, 1)
            hint = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(allowed)}"
            raise ValueError(f"{place}: unknown key {key}{hint}")
        values[name] = _typed(place, allowed[name], value)
    return Options(**values)


def _typed(place: Path, option: Any, value: Any) -> Any:
    if option.default == ():
        return tuple(map(str, value)) if isinstance(value, list) else (str(value),)
    try:
        return option.metadata["kind"](value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: {option.name}={value!r} is not a number") from error
