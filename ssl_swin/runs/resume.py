"""The rule for going on: which checkpoint a run starts from, and whether it may."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from ssl_swin import __version__
from ssl_swin.config.run import RunConfig, begins_with, kind_of
from ssl_swin.config.settings import as_begun, differences, flatten, narrowed, with_values
from ssl_swin.data.order.lanes import default_num_lanes
from ssl_swin.errors import UserError, usable
from ssl_swin.models.targets.teacher import Teacher
from ssl_swin.record.curves import keep_points, put_in_order
from ssl_swin.record.lines import append_line, read_lines, write_text
from ssl_swin.record.lives import count_lives, require_same_shards
from ssl_swin.record.loaded import write_loaded
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs.encoder_numbers import with_its_numbers
from ssl_swin.runs.from_encoder import fingerprint, require_same_encoder
from ssl_swin.runs.left_open import LeftOpen, as_chosen
from ssl_swin.training.checkpoint_file import DamagedCheckpoint, State, read_checkpoint

Read = Callable[[Path], State]


@dataclass(frozen=True)
class Start:
    """How a life of a run begins."""

    folder: RunFolder
    config: RunConfig
    """As asked for, and where nothing is asked for, as the run began."""
    life: int
    """Counted from 1."""
    shards: dict[str, Any]
    """The training shard set, as `ShardSet.describe` says."""
    state: State | None = None
    """The checkpoint to go on from; None at the beginning."""
    encoder: str | None = None
    """SHA-256 of the encoder's file that the run began with, if the checkpoint knows it."""
    changes: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """What `--resume-from` changed, name -> (before, now)."""
    passed_over: bool = False
    """Whether the last checkpoint is damaged, so that `state` is the previous one."""
    classes: tuple[str, ...] = ()
    """The name of each class of a fine-tuning; see `runs/classes.py`."""
    channel_names: tuple[str, ...] | None = None
    """The names of the channels of the training files, in their order, where they have any."""
    chosen: tuple[str, ...] = ()
    """The settings that the user left open when the run began, but for layout."""
    teacher: Teacher | None = None
    """The frozen network that a pretraining predicts the features of."""
    notes: tuple[str, ...] = ()
    """What else the user should read of it, in lines."""
    loaded: Mapping[str, Any] | None = None
    """What became of the weights that it takes from a file, as `loaded.json` has it."""

    @property
    def remembered(self) -> State:
        """What the run's checkpoints hold of how it began, beside its config."""
        encoder = self.encoder or fingerprint(self.config)
        known = {"encoder": encoder, "classes": [*self.classes], "chosen": [*self.chosen]}
        if self.channel_names is not None:
            known["channel_names"] = [*self.channel_names]
        return known | ({} if self.teacher is None else {"teacher": self.teacher.fingerprint})

    def told(self) -> list[str]:
        """Return what the user should read of it, line by line."""
        changes = [narrowed(name, *pair) for name, pair in self.changes.items()]
        lines = [f"changed: {name} was {before!r}, is {now!r}" for name, before, now in changes]
        taught = [] if self.teacher is None else [self.teacher.told]
        return [*self.notes, *lines, *taught]


def find_start(
    config: RunConfig,
    shards: dict[str, Any],
    resume_from: Path | None,
    given: Collection[str] = (),
    read: Read = read_checkpoint,
    left_open: LeftOpen | None = None,
) -> Start:
    """Find where to go on, and write nothing; `submit` asks the same, and reads no weights.

    `shards` is the training shard set, as `ShardSet.describe` says; `given` names the settings that
    the user gave, as for `as_begun`. A run that has begun goes on; only one that has not begins
    with the checkpoint `resume_from`. What the user left open, `left_open` settles.

    Raises:
        UserError: If the folder holds another run, or a run on other shards; if heads have moved.
    """
    folder, kind = RunFolder(Path(config.run_dir)), kind_of(config)
    start = Start(folder, config, count_lives(folder) + 1, shards)
    if not folder.last.is_file() and not folder.previous.is_file():
        if resume_from is None:
            return _beginning(start, given, left_open)
        with usable(f"--resume-from {resume_from}"):
            state = _read_given(resume_from, read)
        if state["kind"] != kind:
            raise UserError(f"{resume_from} is of a {state['kind']} run; give one of a {kind} run")
        start = _going_on(start, state, given, left_open)
        _require_their_order(start)
        if state["shards"] != shards:
            start.changes["shard set"] = (state["shards"], shards)
        return start
    state, damage = _read_newest(folder, read)
    if state["kind"] != kind:
        raise UserError(f"{folder.root} holds a {state['kind']} run; give a {kind} run another one")
    start = _going_on(start, state, given, left_open)
    for setting, pair in start.changes.items():
        name, before, now = narrowed(setting, *pair)
        found = f"this config says {now!r}"
        if setting not in flatten(config):
            found = f"which ssl_swin {__version__} has not; it is of ssl_swin {_version(state)}"
        raise UserError(
            f"{folder.root} holds a run with {name}={before!r}, {found}; give another run_dir, or "
            f"change the run on purpose with --resume-from {folder.last} --run-dir NEW"
        )
    require_same_shards(state["shards"], shards)
    return replace(start, passed_over=bool(damage), notes=(*damage, *start.notes))


def _require_their_order(start: Start) -> None:
    """Refuse heads in another order than a checkpoint's, whose decoders would be one another's."""
    before, now = (
        [tuple(one.get(name) for name in ("stage", "at", "target", "cell_size")) for one in heads]
        for heads in start.changes.get("heads", ((), ()))
    )
    for number, head in enumerate(now):
        was = before.index(head) if head in before else number
        if now[was : was + 1] != [head]:
            raise UserError(
                f"heads[{number}] was heads[{was}] in the checkpoint, which has a decoder for each "
                "in their order; leave it there"
            )


def _version(state: State) -> str:
    """Return the version that wrote a checkpoint; the first one did not say."""
    return state.get("version", "0.1")


def _beginning(start: Start, given: Collection[str], left_open: LeftOpen | None) -> Start:
    """Return the start of a run that begins, with all settled that its config leaves open."""
    sets = None if left_open is None else left_open.sets
    config, notes = with_its_numbers(start.config, given, None, sets)
    if left_open is not None:
        asked = flatten(config)
        config, more = left_open.begin(config)
        start = replace(start, chosen=tuple(differences(asked, config)))
        notes = (*notes, *more)
    return replace(start, config=_with_its_lanes(config, start.folder), notes=notes)


def _going_on(
    start: Start, state: State, given: Collection[str], left_open: LeftOpen | None
) -> Start:
    """Return the start from a checkpoint, with what the config changes of its run.

    Raises:
        UserError: If the run began with another encoder.
    """
    require_same_encoder(state, start.config)
    config, chosen = as_chosen(start.config, state, given)
    config, put = as_begun(state["config"], config, given)
    config = _with_its_lanes(config, start.folder, state)
    config, _ = with_its_numbers(config, given, state)
    config, layout = (config, ()) if left_open is None else left_open.go_on(config, state["config"])
    changes = differences(state["config"], config)
    changes.pop(begins_with(config)[0], None)  # the same one, elsewhere
    notes = tuple(
        f"{name}={value!r}, as when this run began (its last checkpoint is of ssl_swin "
        f"{_version(state)}); new runs do otherwise"
        for name, value in put.items()
    )
    start = replace(start, config=config, state=state, encoder=state.get("encoder"))
    return replace(start, changes=changes, chosen=chosen, notes=(*notes, *layout))


def _with_its_lanes(config: RunConfig, folder: RunFolder, state: State | None = None) -> RunConfig:
    """Return a config that names its lanes, where those of its run are not those of any run.

    They are settled when the run begins: by the checkpoint it goes on from, or else by the
    processes of its first life.
    """
    data, training = config.data, config.training
    batch, world_size = training.global_batch_size, training.devices * training.num_nodes
    if data.num_lanes is not None:
        return config
    usual = default_num_lanes(batch)
    if state is not None and state["config"].get("training.global_batch_size") == batch:
        num_lanes = state.get("num_lanes", usual)
    else:
        first = read_lines(folder.lives)[:1] if state is None else []
        num_lanes = default_num_lanes(batch, first[0]["world_size"] if first else world_size)
    return config if num_lanes == usual else with_values(config, {"data.num_lanes": num_lanes})


def _read_given(path: Path, read: Read) -> State:
    """Return the checkpoint that a user names.

    Raises:
        UserError: If it is a folder, or cannot be read.
    """
    if path.is_dir():
        raise UserError(
            f"--resume-from {path} is a folder; give a checkpoint, as {RunFolder(path).last}"
        )
    try:
        return read(path)
    except DamagedCheckpoint as damage:
        raise UserError(
            f"{damage}; give another one of its run, as previous.ckpt or epoch-*.ckpt"
        ) from damage


def _read_newest(folder: RunFolder, read: Read) -> tuple[State, tuple[str, ...]]:
    """Return the last checkpoint; if it is damaged, the previous one and a warning.

    Raises:
        UserError: If neither can be read.
    """
    try:
        return read(folder.last), ()
    except DamagedCheckpoint as damage:
        if not folder.previous.is_file():
            raise UserError(
                f"{damage}; no previous one is there; give another run_dir, or go on from a kept "
                "checkpoint with --resume-from"
            ) from damage
        try:
            state = read(folder.previous)
        except DamagedCheckpoint as other:
            raise UserError(
                f"{damage}; and {other}; give another run_dir, or go on from a kept checkpoint "
                "with --resume-from"
            ) from damage
        here = f"going on from {folder.previous}, step {state['step']}"
        return state, (f"warning: {damage}; {here}",)


def prepare_folder(start: Start) -> None:
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
    keep_points(folder.metrics, 0 if start.state is None else start.state["step"])
    put_in_order(folder)
    write_text(folder.shards, json.dumps(start.shards, indent=2) + "\n")
    if start.classes:
        write_classes(start)
    if start.channel_names is not None:
        write_text(folder.channels, json.dumps(start.channel_names, ensure_ascii=False) + "\n")
    write_text(folder.config, yaml.safe_dump(asdict(start.config), sort_keys=False))
    if start.loaded is not None:
        write_loaded(folder, start.loaded)
    elif start.state is None:
        folder.loaded.unlink(missing_ok=True)  # of a start that took no step
    if start.changes:
        text = json.dumps({name: list(pair) for name, pair in start.changes.items()}, indent=2)
        write_text(folder.differences, text + "\n")


def write_classes(start: Start) -> None:
    """Write the run folder's `classes.json`, as it stands beside shards."""
    write_text(start.folder.classes, json.dumps(start.classes, indent=2, ensure_ascii=False) + "\n")
