"""The rule for going on: which checkpoint a run starts from, and whether it may."""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from ssl_swin.config.run import RunConfig
from ssl_swin.config.settings import as_begun, differences
from ssl_swin.errors import UserError
from ssl_swin.record.lines import append_line, write_text
from ssl_swin.record.lives import count_lives, require_same_shards
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training.checkpoint_file import DamagedCheckpoint, State, read_checkpoint
from ssl_swin.training.trainer import say


@dataclass(frozen=True)
class Start:
    """How a life of a run begins."""

    folder: RunFolder
    config: RunConfig
    """As asked for, and where nothing is asked for, as the run began."""
    life: int
    """Counted from 1."""
    state: State | None
    """The checkpoint to go on from; None at the beginning."""
    changes: dict[str, tuple[Any, Any]]
    """What `--resume-from` changed, name -> (before, now)."""
    shards: dict[str, Any]
    """The training shard set, as `ShardSet.describe` says."""
    passed_over: bool = False
    """Whether the last checkpoint is damaged, so that `state` is the previous one."""


def find_start(
    config: RunConfig,
    kind: str,
    shards: dict[str, Any],
    resume_from: Path | None,
    given: Collection[str] = (),
) -> Start:
    """Find where to go on, and write nothing.

    `shards` is the training shard set, as `ShardSet.describe` says; `given` names the settings that
    the user gave, as for `as_begun`. A run that has begun goes on; only one that has not begins
    with the checkpoint `resume_from`.

    Raises:
        UserError: If the folder holds another run, or a run on other shards.
    """
    folder = RunFolder(Path(config.run_dir))
    life = count_lives(folder) + 1
    if not folder.last.is_file() and not folder.previous.is_file():
        if resume_from is None:
            return Start(folder, config, life, None, {}, shards)
        state = read_checkpoint(resume_from)
        if state["kind"] != kind:
            raise UserError(f"{resume_from} is of a {state['kind']} run; give one of a {kind} run")
        config = _as_begun(state, config, given)
        changes = differences(state["config"], config)
        if state["shards"] != shards:
            changes["shard set"] = (state["shards"], shards)
        return Start(folder, config, life, state, changes, shards)
    state, passed_over = _read_newest(folder)
    config = _as_begun(state, config, given)
    kinds = {} if state["kind"] == kind else {"kind": (state["kind"], kind)}
    for name, (before, now) in (differences(state["config"], config) | kinds).items():
        raise UserError(
            f"{folder.root} holds a run with {name}={before!r}, this config says {now!r}; give "
            "another run_dir, or change the run on purpose with "
            f"--resume-from {folder.last} --run_dir NEW"
        )
    require_same_shards(state["shards"], shards)
    return Start(folder, config, life, state, {}, shards, passed_over)


def _as_begun(state: State, config: RunConfig, given: Collection[str]) -> RunConfig:
    config, put = as_begun(state["config"], config, given)
    for name, value in put.items():
        say(f"{name}={value!r}, as when this run began; new runs do otherwise")
    return config


def _read_newest(folder: RunFolder) -> tuple[State, bool]:
    """Return the last checkpoint and False; if it is damaged, the previous one and True.

    Raises:
        UserError: If neither can be read.
    """
    try:
        return read_checkpoint(folder.last), False
    except DamagedCheckpoint as damage:
        if not folder.previous.is_file():
            raise
        try:
            state = read_checkpoint(folder.previous)
        except DamagedCheckpoint as other:
            raise UserError(
                f"{damage}; and {other}; give another run_dir, or go on from a kept checkpoint "
                "with --resume-from"
            ) from damage
        say(f"warning: {damage}; going on from {folder.previous}, step {state['step']}")
        return state, True


def prepare_folder(start: Start, config: RunConfig) -> None:
    """Write down, on rank 0, what will be trained, and clean up after earlier lives."""
    folder = start.folder
    if start.state is not None and start.passed_over:
        # The damaged checkpoint must never become the previous one.
        if folder.last.is_file():
            folder.last.replace(folder.damaged)
        folder.previous.replace(folder.last)
        line = {"step": start.state["step"], "reasons": ["the one before is damaged"]}
        append_line(folder.checkpoints, line)
    for place in (folder.root, folder.last.parent):
        for unfinished in place.glob(".*.partial"):
            unfinished.unlink(missing_ok=True)  # its life was killed while it wrote
    write_text(folder.shards, json.dumps(start.shards, indent=2) + "\n")
    write_text(folder.config, yaml.safe_dump(asdict(config), sort_keys=False))
    if start.changes:
        text = json.dumps({name: list(pair) for name, pair in start.changes.items()}, indent=2)
        write_text(folder.differences, text + "\n")
