"""What earlier lives tell the next one: how many they were, how far they got, on which shards."""

import os
import pickletools
import socket
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from ssl_swin.errors import MachineError, ShardError, UserError
from ssl_swin.files import named
from ssl_swin.record.lines import read_json, read_lines
from ssl_swin.record.run_folder import RunFolder


def count_lives(folder: RunFolder) -> int:
    """Return how often the run was started."""
    if not folder.lives.is_file():
        return 0
    with named(folder.lives):
        return len(folder.lives.read_bytes().splitlines())


class Spent(NamedTuple):
    """What the lives of a run took, of those that wrote down how they ended."""

    num_lives: int
    num_untold: int  # that were killed, or go on: nothing of them is in what follows
    seconds: float
    process_s: float  # of all training processes
    steps: int  # also those that were done again

    def steps_per_s(self) -> float | None:
        """Return the steps of a second, with all that is done between them."""
        return self.steps / self.seconds if self.seconds > 0 and self.steps else None


def spent(folder: RunFolder) -> Spent:
    """Add up what the lives of a run took."""
    ends: dict[Any, dict[str, Any]] = {}
    for end in read_lines(folder.ends):
        if end.get("seconds") is not None:
            ends.setdefault(end.get("life"), end)
    lives = read_lines(folder.lives)
    told = [(life, ends[life["life"]]) for life in lives if life.get("life") in ends]
    return Spent(
        len(lives),
        len(lives) - len(told),
        sum(end["seconds"] for _, end in told),
        sum(end["seconds"] * life.get("world_size", 1) for life, end in told),
        sum(max(0, end.get("step", 0) - life.get("step", 0)) for life, end in told),
    )


def lives_as_table(folder: RunFolder) -> str:
    """Return when each life began and why it ended, in Markdown; the last one goes on."""
    ends = {end["life"]: end for end in read_lines(folder.ends) if "life" in end}
    rows = [
        "| life | began at step | processes | SLURM job | ended at step | why |",
        "|---" * 6 + "|",
    ]
    for life in read_lines(folder.lives):
        end = ends.get(life.get("life"), {})
        why = str(end.get("reason", "it did not say")).replace("|", "/")
        cells = [life.get("life"), life.get("step"), life.get("world_size"), life.get("job") or "-"]
        rows.append(f"| {' | '.join(map(str, [*cells, end.get('step', '-'), why]))} |")
    if len(rows) > 2:
        rows[-1] = rows[-1].replace("it did not say", "going on when this was written")
    return "\n".join(rows)


def is_known(folder: RunFolder) -> bool:
    """Whether it holds the record of a job or a life; without one, no run was ever here."""
    return folder.jobs.is_file() or folder.lives.is_file()


def is_evaluation(folder: RunFolder) -> bool:
    """Whether it is the folder of an evaluation of frozen features, or of one that was queued."""
    queued = any(line.get("kind") == "evaluate" for line in read_lines(folder.jobs)[-1:])
    return queued or read_json(folder.summary).get("kind") == "frozen"


def nearest_place(folder: RunFolder) -> Path:
    """Return the folder, or the nearest place above it that exists."""
    return next(one for one in (folder.root, *folder.root.absolute().parents) if one.exists())


def require_record(folder: RunFolder) -> None:
    """Refuse to begin a run anew where its record or its checkpoint must be: storage is away.

    A job that was queued again has had a life, and the script of a job says if the folder was made.

    Raises:
        MachineError: If the record is not there, or the checkpoint that it names.
        UserError: If there is no record, none need be, and none can be made.
    """
    require_saved(folder)
    if folder.last.is_file() or folder.previous.is_file() or is_known(folder):
        return
    restart = os.environ.get("SLURM_RESTART_COUNT", "0")
    if restart != "0" or os.environ.get("SSL_SWIN_RUN_EXISTS"):
        raise MachineError(
            f"{folder.root} holds no record of this run on {socket.gethostname()}: is its file "
            "system mounted there? Nothing is begun anew; once it is back, the same command goes on"
        )
    require_writable(folder)
    if os.environ.get("SLURM_PROCID") == "0":  # a restart looks for it, whoever wrote the script
        folder.root.mkdir(parents=True, exist_ok=True)
        folder.jobs.touch()


def require_saved(folder: RunFolder) -> None:
    """Refuse a run whose checkpoint is not there, while its record names one.

    Raises:
        MachineError: If it is one.
    """
    if folder.last.is_file() or folder.previous.is_file():
        return
    if saved := last_step(folder):
        raise MachineError(
            f"{folder.checkpoints} names a checkpoint of step {saved}, and {folder.last} is not "
            "there; once it is back, the same command goes on, and another run_dir begins anew"
        )


def require_writable(folder: RunFolder, name: str = "run_dir") -> None:
    """Refuse a folder that cannot be written to, or cannot be made; `name` is what named it.

    Raises:
        UserError: If it is one.
    """
    here = nearest_place(folder)
    if not here.is_dir() or not os.access(here, os.W_OK | os.X_OK):
        raise UserError(
            f"{name}={folder.root} cannot be written to: {here}; give another "
            f"--{name.replace('_', '-')}"
        )


def last_step(folder: RunFolder) -> int:
    """Return the step of the last checkpoint, 0 if there is none.

    The checkpoint itself is asked first: a file of lines loses its end where a machine fails.
    """
    step = _step_of(folder.last)
    if step is not None:
        return step
    saved = read_lines(folder.checkpoints)
    return int(saved[-1].get("step", 0)) if saved else 0


def _step_of(path: Path) -> int | None:
    """Return the step of a checkpoint, None if it does not say; nothing in it is executed."""
    try:
        with zipfile.ZipFile(path) as file:
            (name,) = (name for name in file.namelist() if name.endswith("/data.pkl"))
            with file.open(name) as pickled:
                before = None  # the step follows its name, near the beginning
                for operation, value, _ in pickletools.genops(pickled):
                    if before == "step" and isinstance(value, int) and "INT" in operation.name:
                        return value
                    if operation.name not in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
                        before = value
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        pass
    return None


def require_same_shards(known: dict[str, Any], shards: dict[str, Any]) -> None:
    """Refuse to go on with other shards than those a run began with.

    Raises:
        ShardError: If some are missing.
        UserError: If they are others.
    """
    here, before = shards.get("num_shards", 0), known.get("num_shards", 0)
    if here < before:
        raise ShardError(
            f"{before - here} of the {before} training shards are missing; put them back, or go on "
            "without them on purpose with --resume-from"
        )
    if known and known.get("labels") != shards.get("labels"):
        raise UserError(
            "the labels of the training shards changed: the file data.labels, or its keys that are "
            "there, are not those that this run began with; put the old file back, or go on with "
            "the new one on purpose with --resume-from"
        )
    for name, before in known.items():
        if shards[name] != before:
            raise UserError(
                f"the training shards changed: {name} was {before}, is {shards[name]}; put the old "
                "shards back, or go on with the new ones on purpose with --resume-from"
            )
