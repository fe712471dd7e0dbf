"""The hand-off in Python: a source -> a module with its card and its preprocessing, in one line."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ssl_swin.data.pixels.decode import Reading
from ssl_swin.errors import UserError
from ssl_swin.models.encoder import Encoder
from ssl_swin.phases import tell
from ssl_swin.pretrained.card import READING, EncoderCard, Weights, write_encoder
from ssl_swin.pretrained.classifier import ClassifierCard, open_classifier
from ssl_swin.pretrained.image_modules import ImageClassifier, ImageEncoder, require_safetensors
from ssl_swin.pretrained.named import find_any
from ssl_swin.pretrained.open import open_weights
from ssl_swin.pretrained.preprocess import Preprocess


def load_encoder(source: str | Path, **changes: Any) -> ImageEncoder:
    """Load a pretrained encoder, in evaluation mode, on the CPU.

    Example::

        encoder = ssl_swin.load_encoder("runs/mine/pretrain")
        features = encoder(encoder.preprocess(["a.jpg", "b.png"]))  # (2, encoder.num_features)

    Args:
        source: A run folder; an ``encoder.safetensors`` or ``classifier.safetensors``; a
            checkpoint of a run, which says all that its run folder does; a file with a Swin,
            Swin V2 or ViT under the names of timm, of the official SimMIM or Swin code, of
            transformers, torchvision, mmpretrain, MONAI, or ours, alone or in somebody's
            checkpoint; a folder of transformers; weights that timm has in its cache or fetches, as
            "timm:swin_tiny_patch4_window7_224.ms_in1k", with or without "timm:"; or
            "timm:NAME:FILE", a file of weights of timm's NAME.
        **changes: `img_size` in pixels, side or (rows, columns), a multiple of the encoder's
            stride; `window_size` in tokens (position tables are resized; of a Swin V2, which has
            none, `pretrained_window_sizes` stay); `drop_path_rate`;
            `in_chans`, with `encoder_channels`, by which other channels take what was learned:
            "repeat", "average" or "zero"; `mean` and `std` of each channel, of pixels in [0, 1], of
            weights without a card, or where their channels are others; and of
            preprocessing `crop_pct`, `decoder` ("fast" or "pil"), `max_pixels`, and `black` and
            `white`, the numbers that are so in images of more than 8 bits.

    Returns:
        A module: ``encoder(images)`` gives (batch, num_features), the mean over positions;
        ``encoder.maps(images)`` and ``encoder.stages(images)`` are dense; ``encoder.preprocess``
        makes images ready; ``encoder.card`` says what it is, and ``encoder.report`` what became of
        each tensor, which weights from elsewhere also print on stderr.

    Raises:
        FileNotFoundError: If there is no such file, and timm has no Swin of that name.
        UserError: If the file cannot be read, does not fit the changes, or nobody says which mean
            and deviation its images had.
        MachineError: If timm's weights are not in its cache and cannot be fetched.
    """
    encoder = as_image_encoder(find_any(source), str(source), **changes)
    if encoder.report.says_more:
        for line in encoder.report.lines(str(source)):
            tell(line, sys.stderr)
    return encoder


def as_image_encoder(weights: Weights, source: str, **changes: Any) -> ImageEncoder:
    """Do what `load_encoder` does, with weights that were found; `source` is how they are called.

    Raises:
        UserError: As `load_encoder`.
    """
    reading = {name: changes.pop(name) for name in READING if name in changes}
    colours = changes.pop("mean", None), changes.pop("std", None)
    in_chans = changes.get("in_chans", weights.architecture["in_chans"])
    weights = _with_colours(weights, source, in_chans, *colours)
    opened = open_weights(weights, **changes)
    encoder, mean, std = opened.encoder, weights.mean or (), weights.std or ()
    card = weights.card or EncoderCard.of(encoder, mean, std)
    card = replace(card, architecture=encoder.architecture(), mean=mean, std=std, **reading)
    return ImageEncoder(encoder, card, _preprocess(encoder, card), opened.report).eval()


def load_classifier(source: str | Path) -> ImageClassifier:
    """Load a fine-tuned classifier, in evaluation mode, on the CPU, in the type of its weights.

    Example::

        classifier = ssl_swin.load_classifier("runs/mine/finetune")
        (prediction,) = classifier.predict("a.jpg")
        print(prediction.names[0], prediction.probabilities[0])

    Args:
        source: A fine-tuning's run folder, or a ``classifier.safetensors``.

    Returns:
        A module: ``classifier(classifier.preprocess(images))`` gives logits (batch, num_classes);
        ``classifier.predict(images)`` names and probabilities; ``classifier.classes`` the names.

    Raises:
        UserError: If there is none, or it cannot be read.
    """
    opened = open_classifier(Path(source))
    preprocess = _preprocess(opened.classifier.encoder, opened.card)
    return ImageClassifier(opened.classifier, opened.card, preprocess).eval()


def save_encoder(
    encoder: Encoder,
    path: str | Path,
    mean: Sequence[float] = IMAGENET_DEFAULT_MEAN,
    std: Sequence[float] = IMAGENET_DEFAULT_STD,
    **training: Any,
) -> None:
    """Write an encoder of one's own training, such as ``SimMIM(...).encoder``, with its card.

    `load_encoder` and ``ssl-swin finetune --encoder`` read it.

    Args:
        encoder: As `build_encoder` makes it; its weights are written.
        path: Ends in ``.safetensors``; the card is inside, and beside it as ``.json``.
        mean: Of each channel, of pixels in [0, 1], as its images were normalised.
        std: Of each channel.
        **training: What else the card is to say: fields of `EncoderCard`, such as `samples_seen`.

    Raises:
        UserError: If the path ends otherwise.
    """
    card = EncoderCard.of(encoder, tuple(mean), tuple(std), **training)
    write_encoder(require_safetensors(path), encoder.state_dict(), card)


def _with_colours(weights: Weights, source: str, num: int, mean: Any, std: Any) -> Weights:
    """Say which mean and deviation the `num` channels have; those on a card hold for its own."""
    known, given = (
        (weights.mean, weights.std),
        tuple(x and tuple(map(float, x)) for x in (mean, std)),
    )
    mean, std = (before if new is None else new for before, new in zip(known, given, strict=True))
    is_same = num == weights.architecture["in_chans"]
    if weights.card is not None and is_same and (mean, std) != known:
        raise UserError(
            f"mean={mean} and std={std}, but {source} was trained with {known[0]} and {known[1]}: "
            "leave both out, to take those"
        )
    if mean is None or std is None or not len(mean) == len(std) == num:
        raise UserError(
            f"mean={mean} and std={std} of {source}: each must have a number for each of its {num} "
            "channels, as its images were normalised; give mean=... and std=..."
        )
    return weights._replace(mean=mean, std=std)


def _preprocess(encoder: Encoder, card: EncoderCard | ClassifierCard) -> Preprocess:
    if not 0 < card.crop_pct <= 1 or card.decoder not in ("fast", "pil"):
        raise UserError(
            f"crop_pct={card.crop_pct} must be above 0 and at most 1, and "
            f"decoder={card.decoder!r} 'fast' or 'pil'"
        )
    reading = Reading.of(card)
    return Preprocess(encoder.img_size, card.mean, card.std, card.crop_pct, reading)
