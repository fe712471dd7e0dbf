"""Encoders and classifiers as modules that know how images are made ready for them."""

from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssl_swin.data.shards.given import NUMBERS
from ssl_swin.errors import UserError
from ssl_swin.models.classifier import Classifier
from ssl_swin.models.encoder import Encoder, pooled
from ssl_swin.pretrained.card import EncoderCard, write_encoder
from ssl_swin.pretrained.classifier import ClassifierCard
from ssl_swin.pretrained.preprocess import Preprocess, several
from ssl_swin.pretrained.report import Report
from ssl_swin.pretrained.timm import timm_model


class _ForImages(nn.Module):
    """A network, its card, and how images are made ready for it."""

    encoder: Encoder

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()
        self.preprocess = preprocess
        """Images in any form -> what is called with: see `help(ssl_swin.Preprocess)`."""

    @property
    def img_size(self) -> tuple[int, int]:
        """Rows and columns of an image, pixels."""
        return self.encoder.img_size

    @property
    def in_chans(self) -> int:
        """Channels of an image: 1 (grey) or 3 (RGB)."""
        return self.encoder.in_chans

    @property
    def num_features(self) -> int:
        """Channels of the encoder's features."""
        return self.encoder.num_features

    def ready(self, images: Tensor) -> Float[Tensor, "batch chans height width"]:
        """Return images normalised, on this module's device and in the type of its weights.

        Those that are float are normalised already; uint8 ones are pixels.
        """
        if not isinstance(images, Tensor) or images.ndim != 4:
            told = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise UserError(
                f"images={told}, but a tensor (batch, channels, height, width) is wanted: "
                "preprocess(images) makes one of images in any form"
            )
        if images.dtype == torch.uint8:
            images = self.preprocess.normalise(images)
        weight = next(self.parameters())
        return images.to(weight.device, weight.dtype)


class ImageEncoder(_ForImages):
    """A pretrained encoder, what is known of it, and how images are made ready for it.

    Images come on any device: float ones are normalised already, as `preprocess` returns them;
    uint8 ones, cut to size as an `ImageStream` does, are normalised first. Then they are moved to
    the encoder's device and type, so ``encoder(encoder.preprocess(images))`` also works after
    ``encoder.to("cuda").half()``. Gradients flow; ``torch.no_grad()`` spares their memory.
    """

    def __init__(
        self, encoder: Encoder, card: EncoderCard, preprocess: Preprocess, report: Report
    ) -> None:
        super().__init__(preprocess)
        self.encoder = encoder
        self.card = card
        """Architecture, mean, standard deviation, and how it was pretrained."""
        self.report = report
        """What became of each tensor of its file, by name."""

    def forward(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> Float[Tensor, "batch num_features"]:
        """Return a vector for each image: the mean of `maps` over all positions.

        That is what a classifier's head is put on, and what timm's models return without head.

        Raises:
            ValueError: If the images have another size than `img_size`, or other channels.
        """
        return pooled(self.encoder, self.maps(images))

    def maps(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> Float[Tensor, "batch num_features out_rows out_cols"]:
        """Return dense features, after the last norm; ``out_rows = height / encoder.stride``."""
        return self.encoder(self.ready(images))

    def stages(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> list[Float[Tensor, "batch _ _ _"]]:
        """Return the map after each stage, from fine to coarse, before the last norm.

        The i-th of a Swin has ``embed_dim * 2**i`` channels and a position for each square of
        ``patch_size * 2**i`` pixels.
        """
        return self.encoder.stages(self.ready(images))

    def to_timm(self) -> nn.Module:
        """Return timm's model, without head, with a copy of the weights.

        On normalised images it returns the mean over positions, (batch, num_features).
        """
        return timm_model(self.encoder)

    def save(self, path: str | Path) -> None:
        """Write weights and card to a ``.safetensors``, which `load_encoder` reads."""
        write_encoder(require_safetensors(path), self.encoder.state_dict(), self.card)


class Prediction(NamedTuple):
    """The likeliest classes of one image, the likeliest first."""

    names: tuple[str, ...]
    probabilities: tuple[float, ...]


class ImageClassifier(_ForImages):
    """A fine-tuned classifier, the names of its classes, and how images are made ready for it.

    Called, it takes images as an `ImageEncoder` does, and returns logits.
    """

    def __init__(
        self, classifier: Classifier, card: ClassifierCard, preprocess: Preprocess
    ) -> None:
        super().__init__(preprocess)
        self.classifier = classifier
        self.card = card
        """Architecture, classes, mean, standard deviation, and how it was trained."""

    @property
    def encoder(self) -> Encoder:  # type: ignore[override]
        """The encoder below the head."""
        return self.classifier.encoder

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each class, by number; the number as text where nobody gave a name."""
        return self.card.classes

    def forward(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> Float[Tensor, "batch num_classes"]:
        """Return the logits of each image.

        Raises:
            ValueError: If the images have another size than `img_size`, or other channels.
        """
        return self.classifier(self.ready(images))

    def features(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> Float[Tensor, "batch num_features"]:
        """Return what the head is put on: the mean of the features over all positions."""
        return self.classifier.features(self.ready(images))

    @torch.no_grad()
    def predict(self, images: Any, top_k: int = 5, batch_size: int = 32) -> list[Prediction]:
        """Return the names and probabilities of each image's likeliest classes.

        Args:
            images: One image or several in any form that `preprocess` takes.
            top_k: Classes to name; all, if there are fewer.
            batch_size: Images that are computed at once.

        Raises:
            UserError: As `preprocess`, or if `top_k` or `batch_size` is below 1.
        """
        if min(top_k, batch_size) < 1:
            raise UserError(f"top_k={top_k} and batch_size={batch_size} must be at least 1")
        if self.card.task == NUMBERS:
            raise UserError(
                "predict names classes, and this network gives numbers; call it, and give what it "
                "returns to card.answers"
            )
        found, given, first = [], iter(several(images)), 0
        while batch := list(islice(given, batch_size)):
            logits = self(self.preprocess.normalise(self.preprocess.pixels(batch, first)))
            best = self.card.answers(logits.float()).topk(
                min(top_k, len(self.classes))
            )  # (batch, top_k)
            for share, number in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                names = tuple(self.classes[n] for n in number)
                found.append(Prediction(names, tuple(share)))
            first += len(batch)
        return found


def require_safetensors(path: str | Path) -> Path:
    """Return the path of a file of weights; UserError if its name would not be known again."""
    if Path(path).suffix != ".safetensors":
        raise UserError(f"path={str(path)!r} must end in .safetensors: by that it is read again")
    return Path(path)
