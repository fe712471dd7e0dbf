"""The hand-off: encoder weights in one file, and the card that says what they are."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
from torch import Tensor

from ssl_swin.files import replacing
from ssl_swin.models.encoder import Encoder
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.tensors import read_tensors

ENCODER_FILE = "encoder.safetensors"
FORMAT_VERSION = 2
_METADATA_KEY = "ssl_swin_card"
_ONLY_IN_1 = ("img_size", "window_size", "patch_size", "in_chans")  # now in architecture alone


@dataclass(frozen=True)
class EncoderCard:
    """What somebody who is given encoder weights has to know.

    Attributes:
        architecture: The arguments that build the encoder, ``build_encoder(**architecture)``.
        mean: Per channel, subtracted from values scaled to [0, 1].
        std: Per channel, what the difference is divided by.
        mask_patch_size: Side of a mask patch in pixels; None if not pretrained by masking.
        mask_ratio: Share hidden in pretraining; None if not pretrained by masking.
        samples_seen: Images trained on, counted with repetition.
        epoch: Finished passes over the training images.
        commit: Of the code that trained it; empty if unknown.
        format_version: Of the card and the names of the weights.
    """

    architecture: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mask_patch_size: int | None = None
    mask_ratio: float | None = None
    samples_seen: int = 0
    epoch: int = 0
    commit: str = ""
    format_version: int = FORMAT_VERSION

    @classmethod
    def of(
        cls, encoder: Encoder, mean: tuple[float, ...], std: tuple[float, ...], **training: Any
    ) -> "EncoderCard":
        """Describe an encoder.

        Args:
            encoder: Its architecture is copied.
            mean: Per channel.
            std: Per channel.
            **training: The remaining fields, from mask_patch_size on.
        """
        return cls(
            architecture=encoder.architecture(),
            mean=tuple(float(value) for value in mean),
            std=tuple(float(value) for value in std),
            **training,
        )

    def to_json(self) -> str:
        """Write the card as JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "EncoderCard":
        """Read a card, also one of the first version, which repeated parts of the architecture.

        Raises:
            PretrainedMismatch: If the card is of another format version or lacks a field.
        """
        values = json.loads(text)
        version = values.get("format_version") if isinstance(values, dict) else None
        if version not in (1, FORMAT_VERSION):
            raise PretrainedMismatch(
                f"format_version={version} of the card, but this version of ssl_swin reads 1 and "
                f"{FORMAT_VERSION}; use the version that wrote the file"
            )
        if version == 1:
            kept = {key: value for key, value in values.items() if key not in _ONLY_IN_1}
            values = kept | {"format_version": FORMAT_VERSION}
        for key, value in values.items():
            values[key] = tuple(value) if isinstance(value, list) else value
        try:
            return cls(**values)
        except TypeError as error:
            raise PretrainedMismatch(f"the card is not complete: {error}") from error


def write_encoder(path: Path, encoder: Encoder, card: EncoderCard) -> None:
    """Write the weights with the card inside, and the card once more beside them, to read.

    Each file is complete or not there: written to a temporary name, synced, and renamed. The card
    that counts is the one inside, so weights and card can never be from two runs.

    Args:
        path: ``.../encoder.safetensors``; the card goes to ``.../encoder.json``.
        encoder: Its weights are written in the precision they have.
        card: What they are.
    """
    path = Path(path)
    state = {key: value.detach().cpu().contiguous() for key, value in encoder.state_dict().items()}
    metadata = {"format": "pt", _METADATA_KEY: card.to_json()}
    with replacing(path) as file:
        file.write(safetensors.torch.save(state, metadata))
    with replacing(path.with_suffix(".json")) as file:
        file.write((card.to_json() + "\n").encode())


class Weights(NamedTuple):
    """What a file says of an encoder.

    Attributes:
        state: The weights under the names of the encoder, on the CPU.
        architecture: The arguments that build the encoder, ``build_encoder(**architecture)``.
        mean: Of each channel of the images it was trained on, in [0, 1]; None if unknown.
        std: Of each channel; None if unknown.
        card: If the file has one.
    """

    state: dict[str, Tensor]
    architecture: dict[str, Any]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    card: EncoderCard | None = None


def read_encoder(path: Path) -> Weights | None:
    """Read weights and card.

    Args:
        path: Any file.

    Returns:
        None if the file was not written by :func:`write_encoder`.

    Raises:
        PretrainedMismatch: If the file is damaged, or its card is of another format version.
    """
    if path.suffix != ".safetensors":
        return None
    state, metadata = read_tensors(path)
    if _METADATA_KEY not in metadata:
        return None
    card = EncoderCard.from_json(metadata[_METADATA_KEY])
    return Weights(state, card.architecture, card.mean, card.std, card)
