"""The encoder in a checkpoint of a run of ours, with the card that the run's own config makes."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssl_swin.data.pixels.channels import as_names, numbers_of
from ssl_swin.data.shards.channel_names import parse_channel_names
from ssl_swin.models.encoder import build_encoder
from ssl_swin.pretrained.card import READING, EncoderCard, Weights
from ssl_swin.pretrained.elsewhere import check_weights
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.pickled import UNREADABLE
from ssl_swin.pretrained.report import Report
from ssl_swin.pretrained.tensors import is_tensor_file, opened
from ssl_swin.record.run_folder import RunFolder

_KINDS = {"pretrain": "pretraining", "finetune": "fine-tuning"}
# What names of the encoder's weights begin with: of the moving average, if there is one.
_INSIDE = ("model_ema.network.encoder.", "model.network.encoder.")
_NO_EPOCH = "its card says epoch 0: the release that saved it did not say how long one is"


class Checkpoint(NamedTuple):
    """What a file of ours says of its run, and the encoder's weights under their own names."""

    path: Path
    said: Mapping[str, Any]  # see `TensorFile`
    state: dict[str, Tensor]

    @property
    def told(self) -> str:
        """Say after which step it was saved."""
        return f"after step {self.said['step']:,}"

    def weights(self) -> Weights:
        """Return the weights with their card, as its run's own hand-off would have them.

        Raises:
            PretrainedMismatch: If the run's config makes no encoder here, or another one.
        """
        card = _card(self.path, self.said)
        try:
            check_weights(self.state, card.architecture)
        except PretrainedMismatch as error:
            raise PretrainedMismatch(
                f"{self.path} does not hold what its own config says, copy it again: {error}"
            ) from error
        kind = f"a checkpoint of a {_KINDS[self.said['kind']]} {self.told}"
        remarks = () if "steps_per_epoch" in self.said else (_NO_EPOCH,)
        report = Report(kind, remarks=remarks)
        return Weights(self.state, card.architecture, card.mean, card.std, card, report)


def read_checkpoint(path: Path) -> Weights | None:
    """Read the encoder of a pretraining's or a fine-tuning's checkpoint; None of all other files.

    Raises:
        PretrainedMismatch: If it is damaged, or as `Checkpoint.weights`.
    """
    found = open_checkpoint(path)
    return None if found is None else found.weights()


def read_checkpoint_card(path: Path) -> EncoderCard | None:
    """Make the card of `read_checkpoint`, and read no weights; None of what cannot be read, too.

    Raises:
        PretrainedMismatch: If its config makes no encoder here.
    """
    if not _may_be_ours(path):
        return None
    try:
        with opened(path) as file:
            said = file.said
    except PretrainedMismatch:  # said by whoever reads the weights
        return None
    return _card(path, said) if _is_ours(said) else None


def open_checkpoint(path: Path) -> Checkpoint | None:
    """Read a checkpoint of ours; None of all other files.

    Raises:
        PretrainedMismatch: If it is damaged.
    """
    if not _may_be_ours(path):
        return None
    with opened(path) as file:
        if not _is_ours(file.said):
            return None
        named = (
            {name.removeprefix(one): name for name in file.names if name.startswith(one)}
            for one in _INSIDE
        )
        names = next(filter(None, named), {})
        state = {name: file.read(inside) for name, inside in names.items()}
    return Checkpoint(path, file.said, state)


def _may_be_ours(path: Path) -> bool:
    return is_tensor_file(path) and zipfile.is_zipfile(path)


def _is_ours(said: Mapping[str, Any]) -> bool:
    counts = (said.get(name) for name in ("format", "step", "samples_seen"))
    is_of_run = said.get("kind") in [*_KINDS] and isinstance(said.get("config"), dict)
    return is_of_run and all(type(one) is int for one in counts)


def _card(path: Path, said: Mapping[str, Any]) -> EncoderCard:
    """Make the card that the run of a checkpoint gives its encoder.

    Raises:
        PretrainedMismatch: If its config says of no encoder here what it is.
    """
    config = said["config"]
    model, data = _section(config, "model."), _section(config, "data.")
    model.pop("drop_path_rate", None)  # of a training, not of the weights
    try:
        colours = tuple(map(float, data["mean"])), tuple(map(float, data["std"]))
        with torch.device("meta"):  # only sizes are wanted, which a file may have made up
            encoder = build_encoder(in_chans=len(colours[0]), **model)
        told = {name: data[name] for name in READING if name in data} | _training(said)
        told |= _channels(path, said, data)
        return EncoderCard.of(encoder, *colours, **told)
    except PretrainedMismatch:
        raise
    except UNREADABLE as error:
        raise PretrainedMismatch(
            f"{path} is a checkpoint of ssl_swin {said.get('version', '0.1')}, whose config makes "
            f"no encoder here ({' '.join(str(error).split())}): use the release that wrote it, or "
            "give its run's encoder.safetensors"
        ) from error


def _section(config: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the settings of a section of a flat config, by their bare names."""
    return {k.removeprefix(prefix): v for k, v in config.items() if str(k).startswith(prefix)}


def _training(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what cards say of a training."""
    config, steps = said["config"], said.get("steps_per_epoch")
    told = {
        "samples_seen": said["samples_seen"],
        "epoch": 0 if steps is None else said["step"] // steps,
        "commit": said.get("version", ""),
        "ema_decay": config.get("training.ema_decay"),
    }
    if said["kind"] == "finetune":
        return told
    share = 0.0 if config.get("mask.kind") == "none" else config["mask.mask_ratio"]
    return told | {"mask_patch_size": config["mask.mask_patch_size"], "mask_ratio": share}


def _channels(path: Path, said: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the channels of a run as numbers, and their names, if it has some for them.

    What the training files call their channels, newer checkpoints say, and `channels.json` of the
    run folder.

    Raises:
        PretrainedMismatch: If neither says which is which.
    """
    taken, shown = (
        None if data.get(name) is None else tuple(data[name])
        for name in ("channels", "picture_channels")
    )
    names = as_names(taken)
    if names is None and as_names(shown) is None:
        return {"channels": taken, "picture_channels": shown}
    file = RunFolder(path.absolute().parent.parent).channels
    try:
        known = said.get("channel_names") or parse_channel_names(file.read_bytes(), str(file))
        numbers = [numbers_of(one, known, "data.channels", str(file)) for one in (taken, shown)]
    except (OSError, ValueError) as error:
        raise PretrainedMismatch(
            f"the channels of {path} have names, and neither it nor {file} says which they are: "
            f"copy that file there from its run folder, or give the run folder: {error}"
        ) from error
    return {"channels": numbers[0], "picture_channels": numbers[1], "channel_names": names}
