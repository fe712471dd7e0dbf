"""The format "safetensors": weights under our own names, with the card that ssl_swin reads."""

from pathlib import Path

from ssl_swin.pretrained.card import write_encoder
from ssl_swin.pretrained.classifier import write_classifier
from ssl_swin.pretrained.export.handoff import HandOff
from ssl_swin.pretrained.image_modules import ImageClassifier
from ssl_swin.record.run_folder import CLASSIFIER_FILE, ENCODER_FILE

LEFT_OUT = ""


def misfit(_: HandOff) -> str:
    """Return nothing: everything can be expressed."""
    return ""


def write(handed: HandOff, folder: Path) -> None:
    """Write what a run leaves behind: weights with their card inside, and the card beside them."""
    network = handed.network
    if isinstance(network, ImageClassifier):
        state = network.classifier.state_dict()
        write_classifier(folder / CLASSIFIER_FILE, state, network.card)
    else:
        write_encoder(folder / ENCODER_FILE, handed.state, network.card)


def python(handed: HandOff, folder: str) -> str:
    """Return the lines that open it."""
    load = f"ssl_swin.load_{handed.part}({folder!r})"
    return f"import ssl_swin\n\nmodel = {load}\noutput = model(model.preprocess(['a.jpg']))"
