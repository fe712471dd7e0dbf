"""WHAT a person names as weights -> what they are: a run folder, a file, or timm's by a name."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from ssl_swin.errors import UserError
from ssl_swin.models.encoder import ENCODERS
from ssl_swin.pretrained import open as opening
from ssl_swin.pretrained.beside import colours_beside
from ssl_swin.pretrained.card import EncoderCard, Weights
from ssl_swin.pretrained.timm import sizes_of_model, weights_of_model
from ssl_swin.pretrained.timm_models import cached_file, config_of, open_timm, require_file
from ssl_swin.record.run_folder import encoder_file

TIMM = "timm:"
Colours = tuple[tuple[float, ...], tuple[float, ...]]  # mean and deviation of each channel


@dataclass(frozen=True)
class Named:
    """Weights as a person names them: a model of timm, a file, or both."""

    model: str | None
    """A name of timm's, perhaps with a tag; None of weights that say themselves what they are."""
    file: Path | None
    """Where they are, or would be; None of those that timm has in its cache or fetches."""


def read_name(source: str | Path) -> Named:
    """Read "timm:NAME", "timm:NAME:FILE", a path or, where there is none, a name of timm's.

    Raises:
        UserError: If it begins as timm's and names no model.
    """
    text = str(source)
    if text.startswith(TIMM):
        name, _, file = text.removeprefix(TIMM).partition(":")
        if not name:
            raise UserError(f"{text} names no model; give timm:NAME or timm:NAME:FILE")
        return Named(name, Path(file) if file else None)
    if not Path(source).exists() and text.partition(".")[0] in ENCODERS:
        return Named(text, None)
    return Named(None, encoder_file(Path(source)))


def find_any(source: str | Path) -> Weights:
    """Find the weights of an encoder, whatever names them; see `read_name`.

    Nothing is drawn of torch's numbers.

    Raises:
        FileNotFoundError: If there is no such file.
        UserError: If it cannot be read, or is of no encoder here; or timm has no such weights.
        MachineError: If timm's weights are not in its cache and cannot be fetched.
    """
    named = read_name(source)
    if named.model is not None:
        _require_encoder(named.model)
        with torch.random.fork_rng(devices=[]):  # timm draws weights before it loads them
            model = open_timm(named.model, named.file).model
        return weights_of_model(model, named.model, named.file)
    with _with_hint(source):
        return opening.find_weights(Path(source))


def find_sizes(source: str | Path) -> Weights:
    """Find what `find_any` does, but no weights where that is faster; timm's are not fetched.

    Raises:
        FileNotFoundError: If there is no such file.
        UserError: As `find_any`.
    """
    named = read_name(source)
    if named.model is None:
        with _with_hint(source):
            return opening.find_sizes(Path(source))
    _require_encoder(named.model)
    config_of(named.model, named.file is None)
    if named.file is not None:
        require_file(named.model, named.file)
    return sizes_of_model(named.model)


def file_of(source: str | Path) -> Path | None:
    """Return the file of weights, there or not; None of timm's that are not in its cache."""
    named = read_name(source)
    if named.model is None or named.file is not None:
        return named.file
    return cached_file(named.model)


def place_of(source: str | Path) -> Path:
    """Return what is called or lies as weights do: the path, or the bare name of timm's."""
    named = read_name(source)
    if named.model is None:
        return Path(source)
    return named.file or Path(named.model)


def is_there(source: str | Path) -> bool:
    """Whether weights can be looked at: their file is there, or they are timm's."""
    named = read_name(source)
    return named.file is None or named.file.is_file()


def card_of(source: str | Path) -> EncoderCard | None:
    """Read the card of weights, and no weights; None if they have none, or are not there."""
    named = read_name(source)
    if named.model is not None or named.file is None or not named.file.is_file():
        return None
    return opening.card_of(named.file)


def colours_of(source: str | Path) -> Colours | None:
    """Return the mean and deviation that somebody says weights without a card were trained with.

    For weights of timm that is timm, for a file what lies beside it; None if nobody does.
    """
    named = read_name(source)
    if named.model is not None:
        _require_encoder(named.model)
        known = config_of(named.model, named.file is None)
        return tuple(map(float, known.mean)), tuple(map(float, known.std))
    return None if named.file is None else colours_beside(named.file)


@contextmanager
def _with_hint(source: str | Path) -> Iterator[None]:
    """Name the names of timm's that are most like one that is neither these nor a file's."""
    try:
        yield
    except FileNotFoundError as error:
        nearest = difflib.get_close_matches(str(source), ENCODERS, n=2)
        hint = f"; or a name of timm's weights: nearest {', '.join(nearest)}" if nearest else ""
        raise FileNotFoundError(f"{error}{hint}") from error


def _require_encoder(name: str) -> None:
    if name.partition(".")[0] in ENCODERS:
        return
    config_of(name, False)  # refuses what timm has not either
    raise UserError(
        f"timm:{name} is a model of timm for which there is no encoder here: give a Swin, a Swin "
        "V2 or a plain ViT, such as timm:swin_tiny_patch4_window7_224; others can be evaluated, "
        "or be a teacher"
    )
