"""Find encoder weights in whatever the user names, and put them into an encoder."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ssl_swin.models.encoder import Encoder
from ssl_swin.pretrained.card import ENCODER_FILE, EncoderCard, read_encoder
from ssl_swin.pretrained.mismatch import PretrainedMismatch, check_state
from ssl_swin.pretrained.official import from_official, read_official
from ssl_swin.pretrained.window import resize_tables

_SIZES_THAT_MAY_DIFFER = ("name", "img_size", "window_size")


def load_encoder(source: Path) -> tuple[dict[str, Tensor], EncoderCard | None]:
    """Read encoder weights.

    Args:
        source: An ``encoder.safetensors``, a run folder that holds one, or a ``.pth`` of the
            official SimMIM or Swin code.

    Returns:
        The weights under SwinEncoder's names, and their card; official files have none.

    Raises:
        FileNotFoundError: If there is no such file.
        PretrainedMismatch: If the file cannot be read as encoder weights.
    """
    source = Path(source)
    path = source / ENCODER_FILE if source.is_dir() else source
    if not path.is_file():
        raise FileNotFoundError(
            f"no encoder weights at {path}; give an {ENCODER_FILE}, a run folder that holds one, "
            "or an official .pth"
        )
    if path.suffix == ".safetensors":
        return read_encoder(path)
    if path.suffix in (".pth", ".pt"):
        return from_official(read_official(path)), None
    raise PretrainedMismatch(
        f"{path} is of an unknown kind; give an {ENCODER_FILE}, a run folder that holds one, "
        "or an official .pth"
    )


def load_into(
    encoder: Encoder, state: Mapping[str, Tensor], card: EncoderCard | None = None
) -> tuple[str, ...]:
    """Put weights into an encoder, resizing its position tables where the window differs.

    Args:
        encoder: Image and window size may differ from those the weights were trained with.
        state: From :func:`load_encoder`; not changed.
        card: Of the weights, if they have one: makes a refusal clearer.

    Returns:
        Names the weights lack and the encoder keeps: the mask token, or nothing.

    Raises:
        PretrainedMismatch: If the weights belong to another architecture.
    """
    if card is not None:
        _check_architecture(encoder, card)
    resized = resize_tables(state, encoder)
    own = encoder.state_dict()
    missing = check_state(resized, own)
    encoder.load_state_dict(resized | {key: own[key] for key in missing})
    return missing


def _check_architecture(encoder: Encoder, card: EncoderCard) -> None:
    own = encoder.architecture()
    differing = [
        f"{key} is {own[key]!r} in the model and {card.architecture.get(key)!r} in the weights"
        for key in own
        if key not in _SIZES_THAT_MAY_DIFFER and own[key] != card.architecture.get(key)
    ]
    if differing:
        raise PretrainedMismatch(
            f"the weights have another architecture: {'; '.join(differing)}; only "
            f"{', '.join(_SIZES_THAT_MAY_DIFFER)} may differ; build the model with the "
            "architecture on the weights' card"
        )
