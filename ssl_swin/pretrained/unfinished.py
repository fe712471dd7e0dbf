"""The encoder of a run that has not ended: the weights of its last checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssl_swin.data.pixels.channels import as_names, numbers_of
from ssl_swin.data.shards.channel_names import parse_channel_names
from ssl_swin.errors import usable
from ssl_swin.models.encoder import build_encoder
from ssl_swin.pretrained.card import READING, EncoderCard, Weights
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.report import Report
from ssl_swin.pretrained.tensors import opened
from ssl_swin.record.lines import read_lines
from ssl_swin.record.run_folder import RunFolder, encoder_file

# What names of the encoder's weights begin with: of the moving average, if there is one.
_INSIDE = ("model_ema.network.encoder.", "model.network.encoder.")


def is_unfinished(source: Path) -> bool:
    """Say whether this is a run folder that has weights only in a checkpoint."""
    folder = RunFolder(source)
    return not encoder_file(folder.root).is_file() and folder.last.is_file()


def read_unfinished(source: Path) -> Weights | None:
    """Read the newest weights of a run folder without an encoder of its own; None of all else.

    Raises:
        PretrainedMismatch: If config or checkpoint cannot be read.
    """
    folder = RunFolder(Path(source))
    if not is_unfinished(folder.root):
        return None
    try:
        with usable(str(folder.last), PretrainedMismatch), opened(folder.last) as file:
            named = [
                {name.removeprefix(one): name for name in file.names if name.startswith(one)}
                for one in _INSIDE
            ]
            names = next(filter(None, named), {})
            state = {name: file.read(inside) for name, inside in names.items()}
    except PretrainedMismatch as error:
        then = "there is none before it, give another run"
        if folder.previous.is_file():
            then = "give its command again, which goes on from the checkpoint before"
        raise PretrainedMismatch(
            f"{folder.root} is a run that has not ended, and {folder.last} is damaged: {then}"
        ) from error
    model, data = _config(folder)
    try:
        colours = tuple(map(float, data["mean"])), tuple(map(float, data["std"]))
        encoder = build_encoder(in_chans=len(colours[0]), **model)
        reading = {name: data[name] for name in READING if name in data}
    except (KeyError, TypeError, ValueError) as error:
        raise PretrainedMismatch(_no_config(folder, error)) from error
    card = EncoderCard.of(encoder, *colours, **(reading | _channels(folder, data)))
    steps = [one.get("step") for one in read_lines(folder.checkpoints)]
    after = f" after step {steps[-1]:,}" if steps and isinstance(steps[-1], int) else ""
    told = f"a run that has not ended: its checkpoint{after}"
    return Weights(state, card.architecture, *colours, card, Report(told))


def _config(folder: RunFolder) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a run's config says of model and data."""
    import yaml  # late, for speed

    try:
        content = yaml.safe_load(folder.config.read_text(encoding="utf-8"))
        return dict(content["model"]), dict(content["data"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise PretrainedMismatch(_no_config(folder, error)) from error


def _channels(folder: RunFolder, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the channels of a run as numbers, and their names, if it has some for them.

    Raises:
        PretrainedMismatch: If the file that says which is which is not there, or damaged.
    """
    taken, shown = (
        None if data.get(name) is None else tuple(data[name])
        for name in ("channels", "picture_channels")
    )
    names = as_names(taken)
    if names is None and as_names(shown) is None:
        return {"channels": taken, "picture_channels": shown}
    where = str(folder.channels)
    try:
        known = parse_channel_names(folder.channels.read_bytes(), where)
        numbers = [numbers_of(one, known, "data.channels", where) for one in (taken, shown)]
    except (OSError, ValueError) as error:
        raise PretrainedMismatch(
            f"the channels of {folder.root} have names, and {where} does not say which they are, "
            f"copy it again: {error}"
        ) from error
    return {"channels": numbers[0], "picture_channels": numbers[1], "channel_names": names}


def _no_config(folder: RunFolder, error: Exception) -> str:
    return (
        f"{folder.root} has a checkpoint and no config that says what it is of, copy its "
        f"config.yaml again: {' '.join(str(error).split())}"
    )
