"""The encoder of a run that has not ended: the weights of its last checkpoint."""

from dataclasses import replace
from pathlib import Path

from ssl_swin.errors import usable
from ssl_swin.pretrained.card import Weights
from ssl_swin.pretrained.checkpoint import open_checkpoint
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.record.run_folder import RunFolder, encoder_file


def is_unfinished(source: Path) -> bool:
    """Say whether this is a run folder that has weights only in a checkpoint."""
    folder = RunFolder(source)
    return not encoder_file(folder.root).is_file() and folder.last.is_file()


def read_unfinished(source: Path) -> Weights | None:
    """Read the newest weights of a run folder without an encoder of its own; None of all else.

    Raises:
        PretrainedMismatch: If the checkpoint cannot be read.
    """
    folder = RunFolder(Path(source))
    if not is_unfinished(folder.root):
        return None
    try:
        with usable(str(folder.last), PretrainedMismatch):
            found = open_checkpoint(folder.last)
    except PretrainedMismatch as error:
        raise _damaged(folder) from error
    if found is None:
        raise _damaged(folder)
    weights = found.weights()
    told = f"a run that has not ended: its checkpoint {found.told}"
    return weights._replace(report=replace(weights.report, kind=told))


def _damaged(folder: RunFolder) -> PretrainedMismatch:
    then = "there is none before it, give another run"
    if folder.previous.is_file():
        then = "give its command again, which goes on from the checkpoint before"
    return PretrainedMismatch(
        f"{folder.root} is a run that has not ended, and {folder.last} is damaged: {then}"
    )
