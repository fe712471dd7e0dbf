"""The hand-off: encoder weights in one file, and the card that says what they are."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import safetensors.torch
from torch import Tensor

from ssl_swin.files import replacing
from ssl_swin.models.encoder import Encoder
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.report import Report
from ssl_swin.pretrained.tensors import opened

Card = TypeVar("Card")
FORMAT_VERSION = 2
_METADATA_KEY = "ssl_swin_card"
BANDS = ("dtype", "channels", "channel_axis", "nodata")  # how numbers are taken as they are
NAMED = ("channel_names", "picture_channels")  # what else is known of these channels
READING = ("crop_pct", "decoder", "max_pixels", "black", "white", *BANDS, *NAMED)  # of images
_ONLY_IN_1 = ("img_size", "window_size", "patch_size", "in_chans")  # now in architecture alone


@dataclass(frozen=True)
class EncoderCard:
    """What somebody who is given encoder weights has to know."""

    architecture: dict[str, Any]  # the arguments of `build_encoder`
    mean: tuple[float, ...]  # per channel, subtracted from values in [0, 1], or as they are
    std: tuple[float, ...]  # per channel, what the difference is divided by
    mask_patch_size: int | None = None  # side in pixels; None if not pretrained by masking
    mask_ratio: float | None = None  # share hidden in pretraining, 0 for nothing, or None
    samples_seen: int = 0  # images trained on, counted with repetition
    epoch: int = 0  # finished passes over the training images
    commit: str = ""  # of the code that trained it; empty if unknown
    crop_pct: float = 0.875  # share of the short side that evaluation's centre crop keeps
    decoder: str = "fast"  # how JPEGs are decoded: see `Reading`, as for the next three
    max_pixels: int = 178_956_970  # most pixels of an image that is read
    black: float = 0.0  # of grey files of more than 8 bits: the number that becomes black
    white: float | None = None  # the same for white; None for 65535, and no files of fractions
    dtype: str | None = None  # of numbers that are taken as they are; None for colours of 8 bits
    channels: tuple[int, ...] | None = None  # of a file, from 0: see `Bands`, as for the next two
    channel_axis: str | None = None
    nodata: float | None = None
    channel_names: tuple[str, ...] | None = None  # of what the network takes, if they have any
    picture_channels: tuple[int, ...] | None = None  # of `channels`: what pictures show, if chosen
    ema_decay: float | None = None  # of the moving average, if the weights are one
    format_version: int = FORMAT_VERSION  # of the card and the names of the weights

    @classmethod
    def of(
        cls, encoder: Encoder, mean: tuple[float, ...], std: tuple[float, ...], **training: Any
    ) -> "EncoderCard":
        """Describe an encoder; `training` are the fields from mask_patch_size on."""
        return cls(
            encoder.architecture(), tuple(map(float, mean)), tuple(map(float, std)), **training
        )

    def to_json(self) -> str:
        """Write the card as JSON text.

        Of how images are read, and of averages, only what is unusual: cards of others stay as
        earlier releases, which know nothing of it, can read them.
        """
        newer = (*READING, "ema_decay")
        usual = {f.name: f.default for f in dataclasses.fields(self) if f.name in newer}
        values = dataclasses.asdict(self).items()
        return json.dumps({k: v for k, v in values if k not in usual or v != usual[k]}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> "EncoderCard":
        """Read a card, also one of the first version, which repeated parts of the architecture.

        Raises:
            PretrainedMismatch: If the card is of another format version or lacks a field.
        """

        def made(**values: Any) -> "EncoderCard":
            if values["format_version"] == 1:
                values = {key: value for key, value in values.items() if key not in _ONLY_IN_1}
            return cls(**(values | {"format_version": FORMAT_VERSION}))

        return parse_card(made, text, (1, FORMAT_VERSION), "the card")


def parse_card(kind: Callable[..., Card], text: str, versions: tuple[int, ...], what: str) -> Card:
    """Make a card of its JSON text; errors call it `what`.

    Raises:
        PretrainedMismatch: If the card is of none of these format versions, or lacks a field.
    """
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    version = values.get("format_version") if isinstance(values, dict) else None
    if version not in versions:
        raise PretrainedMismatch(
            f"format_version={version} of {what}, but this version of ssl_swin reads "
            f"{' and '.join(map(str, versions))}; use the version that wrote the file"
        )
    try:
        return kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})
    except TypeError as error:
        raise PretrainedMismatch(f"{what} is not complete, copy it again: {error}") from error


def write_encoder(path: Path, weights: Mapping[str, Tensor], card: EncoderCard) -> None:
    """Write an encoder's weights with the card inside; see `write_with_card`."""
    write_with_card(path, weights, _METADATA_KEY, card.to_json())


def write_with_card(path: Path, weights: Mapping[str, Tensor], key: str, card: str) -> None:
    """Write weights with their card inside, and the card once more beside them, to read.

    Each file is complete or not there. The card that counts is the one inside, under `key`, so
    weights and card can never be from two runs. The path is ``.../NAME.safetensors``; the other
    card goes to ``.../NAME.json``.
    """
    path = Path(path)
    state = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    with replacing(path) as file:
        file.writelines(safetensors_parts(state, {"format": "pt", key: card}))
    with replacing(path.with_suffix(".json")) as file:
        file.write(f"{card}\n".encode())


def safetensors_parts(
    state: Mapping[str, Tensor], about: Mapping[str, str]
) -> Iterator[bytes | memoryview]:
    """Yield a safetensors file, the same bytes for the same weights and words.

    The library writes the words in an order that is drawn anew each time, so that files of one
    encoder could not be compared.
    """
    content = safetensors.torch.save(dict(state), dict(about))
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    words = {"__metadata__": dict(sorted(header.pop("__metadata__").items()))}
    text = json.dumps(words | header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # as the format wants tensors aligned
    yield len(text).to_bytes(8, "little") + text
    yield memoryview(content)[end:]


class Weights(NamedTuple):
    """What a file says of an encoder; see :class:`EncoderCard`."""

    state: dict[str, Tensor]  # the weights under the names of the encoder, on the CPU
    architecture: dict[str, Any]
    mean: tuple[float, ...] | None = None  # None if unknown
    std: tuple[float, ...] | None = None
    card: EncoderCard | None = None  # if the file has one
    report: Report = Report("an encoder with its card")  # what was recognised, and left out
    is_guessed: bool = False  # whether nobody says of what images and windows: squares, it is taken
    unlike: Callable[[dict[str, Any]], Iterator[str]] | None = None  # as a `Naming` has it

    @property
    def told(self) -> str:
        """Say in one line what was recognised."""
        return self.report.told


def read_encoder(path: Path) -> Weights | None:
    """Read what :func:`write_encoder` wrote, if its format version is known."""
    card = read_card(path)
    if card is None:
        return None
    with opened(path) as file:
        state = {name: file.read(name) for name in file.names}
    return Weights(state, card.architecture, card.mean, card.std, card)


def read_card(path: Path) -> EncoderCard | None:
    """Read the card of an encoder's file, and no weights; None if the file has no card."""
    if path.suffix != ".safetensors":
        return None
    with opened(path) as file:
        text = file.metadata.get(_METADATA_KEY)
    return None if text is None else EncoderCard.from_json(text)
