"""What is handed to another library: a network, its sizes, classes, images, card and licence."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from ssl_swin.errors import UserError
from ssl_swin.models.encoder import pooled
from ssl_swin.pretrained.classifier import read_classifier_card
from ssl_swin.pretrained.image_modules import ImageClassifier, ImageEncoder
from ssl_swin.pretrained.load import as_image_encoder, load_classifier
from ssl_swin.pretrained.named import find_any, place_of
from ssl_swin.pretrained.unfinished import read_unfinished
from ssl_swin.record.run_folder import classifier_file

Part = Literal["encoder", "classifier"]
UNKNOWN = "unknown"  # a licence of which nobody has said anything
_LICENCE = re.compile(r"[\w.+-]{1,64}", re.ASCII)  # as SPDX writes them
_RUN_OF_A_KIND = ("pretrain", "finetune")  # folders that are called by the one above


@dataclass(frozen=True)
class HandOff:
    """A network that goes to another library, and what has to go with it."""

    name: str
    """What it is called: after its run."""
    network: ImageEncoder | ImageClassifier
    told: str
    """What it was taken from."""
    licence: str = UNKNOWN
    """Of the weights: an identifier of SPDX's list, such as "mit"."""

    @property
    def sizes(self) -> dict[str, Any]:
        """The arguments of `build_encoder` that build the encoder again."""
        return self.network.card.architecture

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each class, by number; none of an encoder."""
        return self.network.classes if isinstance(self.network, ImageClassifier) else ()

    @property
    def part(self) -> Part:
        """What it is."""
        return "classifier" if isinstance(self.network, ImageClassifier) else "encoder"

    @property
    def state(self) -> dict[str, Tensor]:
        """The encoder's weights, under the names that they have here."""
        return self.network.encoder.state_dict()

    @property
    def head(self) -> dict[str, Tensor]:
        """The head's `weight` (classes, num_features) and `bias` (classes,); none of an encoder."""
        if isinstance(self.network, ImageClassifier):
            return self.network.classifier.head.state_dict()
        return {}

    @property
    def resized_px(self) -> int | None:
        """Short side of an image before its centre is cut out; None if it is resized alone.

        Evaluation cuts squares, so images that are none are resized to rows and columns.
        """
        rows, cols = self.network.img_size
        return int(rows / self.network.card.crop_pct) if rows == cols else None

    @property
    def card(self) -> dict[str, Any]:
        """What is known of the network, as plain JSON, with the licence of its weights."""
        told = json.loads(json.dumps(asdict(self.network.card)))
        return {"name": self.name, "license": self.licence, "part": self.part, **told}

    def computing(self) -> nn.Module:
        """Return a module in float32: normalised images -> logits, or features of an encoder."""
        if isinstance(self.network, ImageClassifier):
            return self.network.classifier.float().eval()
        return _Pooled(self.network.encoder).float().eval()


class _Pooled(nn.Module):
    """An encoder with the mean over positions."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        """Return (batch, num_features)."""
        return pooled(self.encoder, self.encoder(images))


def open_handoff(source: str, part: Part | None = None, licence: str = UNKNOWN) -> HandOff:
    """Open what a person names: a run folder, ended or not, a file, or a name of timm's weights.

    Of what holds a classifier that is taken, unless the `part` is "encoder".

    Raises:
        UserError: If there is nothing of the kind, it cannot be read, or the licence is no word.
        MachineError or OSError: If the storage fails.
    """
    if not _LICENCE.fullmatch(licence):
        raise UserError(
            f"license={licence!r} must be one word of letters, digits and .+-, as SPDX's list has "
            "them: mit, apache-2.0, cc-by-nc-4.0; or other"
        )
    path = place_of(source)
    name = _name_of(path)
    if part == "classifier" or (part is None and _is_classifier(classifier_file(path))):
        network = load_classifier(source)
        told = f"a classifier of {len(network.classes)} classes"
        return HandOff(name, network, told, licence)
    try:
        weights = read_unfinished(path) or find_any(source)
    except FileNotFoundError as error:
        raise UserError(str(error)) from error
    return HandOff(name, as_image_encoder(weights, source), weights.told, licence)


def _is_classifier(path: Path) -> bool:
    return path.is_file() and read_classifier_card(path) is not None


def _name_of(source: Path) -> str:
    """Call a run after its folder, or after the one above where that says only its kind."""
    words = [one for one in source.absolute().parts if one not in ("..", "/")]
    name = Path(words[-1]).stem if source.suffix in (".safetensors", ".pth", ".pt") else words[-1]
    alone = source.is_dir() and name in _RUN_OF_A_KIND and len(words) > 1
    return f"{words[-2]}-{name}" if alone else name
