"""The hand-off of a classifier: encoder and head in one file, with a card of classes and images."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ssl_swin.data.shards.given import MULTI, SINGLE
from ssl_swin.errors import usable
from ssl_swin.models.classifier import Classifier
from ssl_swin.models.encoder import build_encoder
from ssl_swin.pretrained.card import (
    BANDS,
    NAMED,
    READING,
    EncoderCard,
    Weights,
    parse_card,
    read_card,
    write_with_card,
)
from ssl_swin.pretrained.mismatch import PretrainedMismatch, check_state
from ssl_swin.pretrained.report import Report
from ssl_swin.pretrained.tensors import opened
from ssl_swin.record.run_folder import CLASSIFIER_FILE, RunFolder, classifier_file, encoder_file
from ssl_swin.record.settings import has_classes

FORMAT_VERSION = 1
TASK_VERSION = 2  # of cards whose task is not one class of each image: version 1 knows no other
_METADATA_KEY = "ssl_swin_classifier"
_OF_TASKS = ("task", "target_mean", "target_std")
_ENCODER = "encoder."  # what names of the encoder's weights begin with


@dataclass(frozen=True)
class ClassifierCard:
    """What somebody who is given a classifier has to know."""

    architecture: dict[str, Any]  # of the encoder: the arguments of `build_encoder`
    classes: tuple[str, ...]  # the name of each output; its number as text where it has no name
    mean: tuple[float, ...]  # per channel, subtracted from values in [0, 1], or as they are
    std: tuple[float, ...]  # per channel, what the difference is divided by
    img_size: int | tuple[int, int]  # of the input in pixels: both sides, or (rows, columns)
    crop_pct: float = 0.875  # share of the short side that the centre crop keeps
    interpolation: str = "bicubic"  # how images are resized before that crop
    decoder: str = "fast"  # how JPEGs are decoded: see `Reading`, as for the next three
    max_pixels: int = 178_956_970  # most pixels of an image that is read
    black: float = 0.0  # of grey files of more than 8 bits: the number that becomes black
    white: float | None = None  # the same for white; None for 65535, and no files of fractions
    samples_seen: int = 0  # images trained on, counted with repetition
    epoch: int = 0  # finished passes over the training images
    commit: str = ""  # of the code that trained it; empty if unknown
    dtype: str | None = None  # of numbers that are taken as they are; None for colours of 8 bits
    channels: tuple[int, ...] | None = None  # of a file, from 0: see `Bands`, as for the next two
    channel_axis: str | None = None
    nodata: float | None = None
    channel_names: tuple[str, ...] | None = None  # of what the network takes, if they have any
    picture_channels: tuple[int, ...] | None = None  # of `channels`: what pictures show, if chosen
    ema_decay: float | None = None  # of the moving average, if the weights are one
    format_version: int = FORMAT_VERSION  # of the card and the names of the weights
    task: str = SINGLE  # what outputs are: one class, several classes, or numbers
    target_mean: tuple[float, ...] = ()  # of the training labels, for each number
    target_std: tuple[float, ...] = ()  # likewise; a number is an output times this plus the mean

    def to_json(self) -> str:
        """Write the card as JSON text; what earlier releases know not, only where it is needed."""
        told = dataclasses.asdict(self)
        newer = {name for name in (*BANDS, *NAMED, "ema_decay") if told[name] is None}
        newer |= {*_OF_TASKS} if self.task == SINGLE else set()
        return json.dumps({k: v for k, v in told.items() if k not in newer}, indent=2)

    def answers(self, outputs: Tensor) -> Tensor:
        """Turn outputs, (batch, num_classes), into probabilities, or into numbers as labelled."""
        if self.task == SINGLE:
            return outputs.softmax(dim=1)
        if self.task == MULTI:
            return outputs.sigmoid()
        return outputs * outputs.new_tensor(self.target_std) + outputs.new_tensor(self.target_mean)

    @classmethod
    def from_json(cls, text: str) -> "ClassifierCard":
        """Read a card.

        Raises:
            PretrainedMismatch: If the card is of another format version or lacks a field.
        """
        return parse_card(cls, text, (FORMAT_VERSION, TASK_VERSION), "the classifier's card")

    def of_encoder(self) -> EncoderCard:
        """Return the card of the encoder alone."""
        return EncoderCard(
            self.architecture,
            self.mean,
            self.std,
            samples_seen=self.samples_seen,
            epoch=self.epoch,
            commit=self.commit,
            ema_decay=self.ema_decay,
            **{name: getattr(self, name) for name in READING},
        )


@dataclass(frozen=True)
class OpenClassifier:
    """A classifier with its weights, in eval mode, and what is known of it."""

    classifier: Classifier
    card: ClassifierCard


def write_classifier(path: Path, weights: Mapping[str, Tensor], card: ClassifierCard) -> None:
    """Write what a `Classifier` has in its `state_dict`, with the card; see `write_with_card`."""
    write_with_card(path, weights, _METADATA_KEY, card.to_json())


def open_classifier(source: Path) -> OpenClassifier:
    """Build a classifier and give it its weights, from its file or from a fine-tuning's run folder.

    It computes in the precision of the weights, on the CPU.

    Raises:
        PretrainedMismatch: If there is none, or it cannot be read.
    """
    path = _found(Path(source))
    with usable(str(path), PretrainedMismatch):
        card = read_classifier_card(path)
        if card is None:
            raise PretrainedMismatch(
                f"{path} is no classifier of ssl-swin finetune; give a finished fine-tuning's run "
                f"folder, or its {CLASSIFIER_FILE}"
            )
        state = _read(path)
    classifier = Classifier(build_encoder(**card.architecture), len(card.classes))
    check_state(state, classifier.state_dict(), ())
    classifier.to(state["head.weight"].dtype).load_state_dict(state)
    return OpenClassifier(classifier.eval(), card)


def read_classifier_card(path: Path) -> ClassifierCard | None:
    """Read the card of a classifier's file, and no weights; None if the file has no such card."""
    if path.suffix != ".safetensors":
        return None
    with opened(path) as file:
        text = file.metadata.get(_METADATA_KEY)
    return None if text is None else ClassifierCard.from_json(text)


def read_its_encoder(path: Path) -> Weights | None:
    """Read the encoder of what :func:`write_classifier` wrote."""
    card = read_classifier_card(path)
    if card is None:
        return None
    named = ((name.partition(_ENCODER), value) for name, value in _read(path).items())
    state = {rest: value for (before, _, rest), value in named if not before}
    report = Report("the encoder of a classifier, without its head")
    return Weights(state, card.architecture, card.mean, card.std, card.of_encoder(), report)


def _read(path: Path) -> dict[str, Tensor]:
    with opened(path) as file:
        return {name: file.read(name) for name in file.names}


def _found(source: Path) -> Path:
    """Return the file of a classifier, or say why there is none."""
    path = classifier_file(source)
    if path.is_file():
        return path
    give = f"give a finished fine-tuning's run folder, or its {CLASSIFIER_FILE}"
    if not source.exists():
        raise PretrainedMismatch(f"{source}: there is no such run folder or file; {give}")
    encoder, folder = encoder_file(source), RunFolder(source)
    if not encoder.is_file() and folder.config.is_file() and not has_classes(folder):
        raise PretrainedMismatch(
            f"{source} holds a pretraining, which knows no classes and has not finished: let it, "
            f"then fine-tune it, ssl-swin finetune --encoder {source}; or {give}"
        )
    if not encoder.is_file():
        raise PretrainedMismatch(
            f"{source} holds no {CLASSIFIER_FILE}: it is no run folder, or its fine-tuning has not "
            f"finished; {give}"
        )
    card = read_card(encoder)
    if card is not None and card.mask_ratio is not None:
        raise PretrainedMismatch(
            f"{source} holds a pretraining, which knows no classes: fine-tune it first, "
            f"ssl-swin finetune --encoder {source}; or {give}"
        )
    raise PretrainedMismatch(
        f"{source} holds no {CLASSIFIER_FILE}, because an earlier release finished it: the same "
        f"ssl-swin finetune command writes it; or {give}"
    )
