"""Find encoder weights in whatever the user names, and put them into an encoder.

A new format of files is a file of its own that reads it, and a line in `WEIGHT_FORMATS`. How a
library names its tensors is a line in `NAMINGS` of `elsewhere.py`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ssl_swin.models.encoder import Encoder, TakesRelatives, build_encoder
from ssl_swin.pretrained.beginnings import begins_like, first_bytes
from ssl_swin.pretrained.card import EncoderCard, Weights, read_card, read_encoder
from ssl_swin.pretrained.channels import fit_channels
from ssl_swin.pretrained.checkpoint import read_checkpoint, read_checkpoint_card
from ssl_swin.pretrained.classifier import read_classifier_card, read_its_encoder
from ssl_swin.pretrained.elsewhere import read_elsewhere
from ssl_swin.pretrained.mismatch import PretrainedMismatch, check_state, some
from ssl_swin.pretrained.report import Report
from ssl_swin.pretrained.swin_v2 import require_windows
from ssl_swin.pretrained.tensors import is_tensor_file, opened
from ssl_swin.pretrained.window import resize_tables
from ssl_swin.record.run_folder import ENCODER_FILE, RunFolder, encoder_file

WEIGHT_FORMATS: dict[str, Callable[[Path], Weights | None]] = {
    "ours": read_encoder,
    "our classifier": read_its_encoder,
    "our checkpoint": read_checkpoint,
    "elsewhere": read_elsewhere,
}
"""Name of a format -> its reader.

It returns None for a file of another format, and raises PretrainedMismatch for a damaged one.
"""

_SIZES_THAT_MAY_DIFFER = ("name", "img_size", "window_size")
_ALLOWED = (
    f"give an {ENCODER_FILE}, a run folder that holds one, or a Swin, Swin V2 or ViT of the "
    "official code, timm, transformers, torchvision, mmpretrain, MONAI or this one, alone or in a "
    "checkpoint of torch.save, or as .safetensors"
)


@dataclass(frozen=True)
class OpenEncoder:
    """An encoder with its weights, and what images have to be for it."""

    encoder: Encoder
    card: EncoderCard | None  # of the weights, if they have one
    img_size: tuple[int, int]  # rows and columns in pixels to which images are resized
    mean: tuple[float, ...] | None  # see `EncoderCard`; None if nobody says
    std: tuple[float, ...] | None
    report: Report  # what became of the weights, by name


def open_encoder(source: Path, **changes: Any) -> OpenEncoder:
    """Build an encoder and give it its weights, from a source as for :func:`find_weights`.

    The changes are arguments of `build_encoder`: `img_size`, `window_size`, `drop_path_rate`; and
    `in_chans`, with the name of a rule in `CHANNEL_RULES` as `encoder_channels`. Coordinates of a
    Swin V2 stay scaled by its windows of pretraining.

    Raises:
        FileNotFoundError: If there is no such file.
        PretrainedMismatch: If the file cannot be read, or the weights do not fit after the changes.
        UserError: If no encoder can be built with the changes.
    """
    return open_weights(find_weights(source), **changes)


def open_weights(weights: Weights, **changes: Any) -> OpenEncoder:
    """Do what :func:`open_encoder` does, with weights that were found."""
    channels = changes.pop("encoder_channels", None)
    sizes = weights.architecture | changes
    require_windows(sizes, weights.report.kind)
    encoder = build_encoder(**sizes)
    report = load_weights(encoder, weights, channels)
    return OpenEncoder(encoder, weights.card, encoder.img_size, weights.mean, weights.std, report)


def find_weights(source: Path) -> Weights:
    """Read weights, under the encoder's names, and what is known of them.

    The source is an ``encoder.safetensors``, a run folder that holds one, a folder of transformers,
    timm or DeepSpeed, or a file that holds a Swin's weights under names in `NAMINGS`: alone, or in
    a checkpoint of timm, Lightning or another trainer, of a module in DDP or compiled, or not.

    Raises:
        FileNotFoundError: If there is no such file.
        PretrainedMismatch: If the file cannot be read as encoder weights.
    """
    path = encoder_file(Path(source))
    if not path.is_file():
        raise FileNotFoundError(f"no encoder weights at {path}{_so_far(Path(source))}; {_ALLOWED}")
    for read in WEIGHT_FORMATS.values():
        if (weights := read(path)) is not None:
            return weights
    raise PretrainedMismatch(f"{path} is of an unknown kind{_holds(path)}; {_ALLOWED}")


def find_sizes(source: Path) -> Weights:
    """Find what `find_weights` does, but of a file with a card no weights, which is faster."""
    path = encoder_file(Path(source))
    card = card_of(path) if path.is_file() else None
    if card is None:
        return find_weights(source)
    return Weights({}, card.architecture, card.mean, card.std, card)


def card_of(path: Path) -> EncoderCard | None:
    """Read the card of an encoder's file, a classifier's or a checkpoint of ours; None of others.

    Raises:
        PretrainedMismatch: If such a card cannot be read.
    """
    if (card := read_card(path)) is not None:
        return card
    if (classifier := read_classifier_card(path)) is not None:
        return classifier.of_encoder()
    return read_checkpoint_card(path)


def load_weights(encoder: Encoder, weights: Weights, channels: str | None = None) -> Report:
    """Put weights that were found into an encoder; see `load_into`.

    Returns:
        What became of all that was in their file.
    """
    before = weights.report
    sizes = None if weights.is_guessed else weights.architecture
    told = load_into(encoder, weights.state, weights.card, channels, sizes)
    return replace(
        told,
        kind=before.kind,
        where=before.where,
        loaded=before.loaded or told.loaded,
        remapped=before.remapped,
        dropped=before.dropped,
        remarks=(*told.remarks, *before.remarks, *_unlike(encoder, weights)),
    )


def load_into(
    encoder: Encoder,
    state: Mapping[str, Tensor],
    card: EncoderCard | None = None,
    channels: str | None = None,
    sizes: Mapping[str, Any] | None = None,
) -> Report:
    """Put weights into an encoder, resizing its position tables where the window differs.

    The image size may differ too; and the number of channels, if a rule in `CHANNEL_RULES` is
    named. The card of the weights makes a refusal clearer. It says of what windows and images they
    are, or `sizes` do; see `resize_tables` for what nobody says it of.

    Returns:
        What was loaded and resized; what is missing: the mask token, or nothing.

    Raises:
        PretrainedMismatch: If the weights belong to another architecture.
    """
    if card is not None:
        _check_architecture(encoder, card, () if channels is None else ("in_chans",))
    remarks: tuple[str, ...] = ()
    if isinstance(encoder, TakesRelatives):
        state, remarks = encoder.adapted(state)
    if channels is not None:
        state, said = fit_channels(state, encoder.in_chans, channels)
        remarks += said
    known = sizes if card is None else card.architecture
    fitting, resized, guessed = resize_tables(state, encoder, known)
    own = encoder.state_dict()
    missing = check_state(fitting, own, encoder.mask_parameters())
    encoder.load_state_dict(fitting | {key: own[key] for key in missing})
    remarks += guessed
    return Report("weights", loaded=tuple(state), resized=resized, missing=missing, remarks=remarks)


def _unlike(encoder: Encoder, weights: Weights) -> Iterator[str]:
    """Say where features are not those of the library that weights are from."""
    for what in () if weights.unlike is None else weights.unlike(encoder.architecture()):
        yield f"{weights.report.kind} has other features, or none, of {what}"


def _so_far(source: Path) -> str:
    if not source.exists():
        return f": {source.absolute()} is not there"
    last = RunFolder(source).last
    return f": the run has not ended; {last} holds its weights so far" if last.is_file() else ""


def _holds(path: Path) -> str:
    if not is_tensor_file(path):
        return begins_like(first_bytes(path))
    with opened(path) as file:
        return f": it holds {len(file.names)} tensors, {some(file.names)}"


def _check_architecture(encoder: Encoder, card: EncoderCard, free: tuple[str, ...]) -> None:
    own, theirs = encoder.architecture(), card.architecture
    its = encoder.free_sizes if isinstance(encoder, TakesRelatives) else ()
    may_differ = (*_SIZES_THAT_MAY_DIFFER, *its, *free)
    differing = [
        f"{key} is {own.get(key)!r} in the model and {theirs.get(key)!r} in the weights"
        for key in own | theirs
        if key not in may_differ and own.get(key) != theirs.get(key)
    ]
    if differing:
        raise PretrainedMismatch(
            f"the weights have another architecture: {'; '.join(differing)}; only "
            f"{', '.join(may_differ)} may differ; build the model with the "
            "architecture on the weights' card"
        )
