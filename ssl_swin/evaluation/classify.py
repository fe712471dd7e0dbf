"""Images -> the probability of each class, in their order, on any device."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ssl_swin.data.batches.loader import loader
from ssl_swin.data.order.shares import EvaluationShares
from ssl_swin.errors import MachineError, UserError
from ssl_swin.evaluation.pixels import PixelStream
from ssl_swin.machine import usable_cores
from ssl_swin.models.classifier import Classifier
from ssl_swin.models.normalise import Normalisation
from ssl_swin.pretrained.classifier import ClassifierCard, OpenClassifier

_FEW = 200  # images that are read before loader processes have started
_MOST_WORKERS = 8


@dataclass(frozen=True)
class Computing:
    """How images are computed; it moves no number by more than rounding, but for `flip`."""

    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:N or mps."""
    batch_size: int = 64
    """Images computed at once, 1 or more."""
    num_workers: int | None = None
    """Loader processes, 0 for none; left out, one for each core, at most 8."""
    flip: bool = False
    """Whether the mirror image is computed, too, and what is found is the mean of both."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"batch_size={self.batch_size} computes nothing; give 1 or more")
        if self.num_workers is not None and self.num_workers < 0:
            raise UserError(f"num_workers={self.num_workers} is no number; give 0 or more")

    def workers_for(self, num_images: int) -> int:
        """Return how many loader processes read so many images."""
        if self.num_workers is not None:
            return self.num_workers
        return 0 if num_images <= _FEW else min(usable_cores(), _MOST_WORKERS)


@dataclass(frozen=True)
class Answers:
    """What a classifier says of a batch of images."""

    index: np.ndarray  # int64 (batch,), the place of each image
    # float64 (batch, num_classes), on the CPU; or numbers; of broken images without sense
    probability: Tensor
    broken: np.ndarray  # bool (batch,), whether an image cannot be decoded


def find_device(name: str) -> torch.device:
    """Return the device of this name, as of `Computing`.

    Raises:
        UserError: If there is no such device on this machine.
    """
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    kind, _, number = name.partition(":")
    if name == "auto":
        has_mps = torch.backends.mps.is_available()
        return torch.device("cuda" if num_gpus else "mps" if has_mps else "cpu")
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdecimal()):
        raise UserError(f"device={name} is unknown; give auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda" and int(number or 0) >= num_gpus:
        have = f"{num_gpus} GPUs, numbered from 0" if num_gpus else "no GPU that torch can use"
        raise UserError(f"device={name}: this machine has {have}; give another, or auto")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"device={name}: this machine has no such GPU; give auto, or cpu")
    return torch.device(name)


def fingerprint(opened: OpenClassifier) -> str:
    """Hash the weights, the names of the classes, and what is done to images."""
    digest = hashlib.sha256(replace(opened.card, commit="").to_json().encode())
    for name, value in sorted(opened.classifier.state_dict().items()):
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()


def counted(answers: Iterable[Answers], count: Callable[[int], None]) -> Iterator[Answers]:
    """Yield answers, and count the images of each once it has been used."""
    for one in answers:
        yield one
        count(len(one.index))


def classify(
    opened: OpenClassifier, stream: PixelStream, computing: Computing, first: int = 0
) -> Iterator[Answers]:
    """Yield what a classifier says of the images from the place `first` on, batch by batch.

    Raises:
        UserError: If there is no such device.
        MachineError: If the memory of a GPU is too small for a batch.
        ShardError, RemoteError or OSError: If the storage fails, or a shard was changed.
    """
    device, card = find_device(computing.device), opened.card
    dtype = torch.float32 if device.type == "mps" else opened.classifier.head.weight.dtype
    network = opened.classifier.to(device, dtype).eval()
    normalise = Normalisation.of(card).to(device, dtype)
    places = np.arange(first, len(stream))  # (images that are left,)
    shares = EvaluationShares(places, computing.batch_size, 0, 1)
    for batch in loader(stream, shares, computing.workers_for(len(places))):
        with naming_short_memory(device, computing.batch_size):
            pixels = normalise(batch["image"].to(device, non_blocking=True))
            probability = _answers(network, card, pixels, computing.flip)
        yield Answers(batch["index"].numpy(), probability, batch["broken"].numpy())


@contextmanager
def naming_short_memory(device: torch.device, batch_size: int) -> Iterator[None]:
    """Make one line of a GPU's memory that is too small, a `MachineError`."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MachineError(
            f"the memory of {device} is too small for batch_size={batch_size}: give a smaller one, "
            "then the same command goes on"
        ) from error


@torch.inference_mode()
def _answers(network: Classifier, card: ClassifierCard, images: Tensor, flip: bool) -> Tensor:
    """Return float64 (batch, num_classes), on the CPU, since not every GPU has float64."""
    answers = card.answers(network(images).cpu().double())
    if flip:
        answers = (answers + card.answers(network(images.flip(-1)).cpu().double())) / 2
    return answers
