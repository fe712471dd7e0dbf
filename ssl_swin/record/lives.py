"""What earlier lives tell the next one: how many they were, how far they got, on which shards."""

from typing import Any

from ssl_swin.errors import ShardError, UserError
from ssl_swin.record.lines import read_lines
from ssl_swin.record.run_folder import RunFolder


def count_lives(folder: RunFolder) -> int:
    """Return how often the run was started."""
    if not folder.lives.is_file():
        return 0
    return len(folder.lives.read_text(encoding="utf-8").splitlines())


def last_step(folder: RunFolder) -> int:
    """Return the step of the last checkpoint, 0 if there is none."""
    saved = read_lines(folder.checkpoints)
    return int(saved[-1].get("step", 0)) if saved else 0


def require_same_shards(known: dict[str, Any], shards: dict[str, Any]) -> None:
    """Refuse to go on with other shards than those a run began with.

    Raises:
        ShardError: If some are missing.
        UserError: If they are others.
    """
    here, before = shards.get("num_shards", 0), known.get("num_shards", 0)
    if here < before:
        raise ShardError(f"{before - here} of the {before} training shards are missing")
    for name, before in known.items():
        if shards[name] != before:
            raise UserError(
                f"the training shards changed: {name} was {before}, is {shards[name]}; put the old "
                "shards back, or go on with the new ones on purpose with --resume-from"
            )
