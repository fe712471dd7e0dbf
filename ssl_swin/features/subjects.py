"""WHAT a person names -> a frozen network, and what images have to be for it."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch

from ssl_swin.errors import UserError
from ssl_swin.features.networks import HouseNetwork, Network, TimmNetwork
from ssl_swin.models.encoder import build_encoder
from ssl_swin.pretrained.card import BANDS, NAMED, READING
from ssl_swin.pretrained.image_modules import ImageEncoder
from ssl_swin.pretrained.load import as_image_encoder
from ssl_swin.pretrained.named import TIMM, find_any, read_name
from ssl_swin.pretrained.timm_models import open_timm
from ssl_swin.pretrained.unfinished import read_unfinished
from ssl_swin.record.run_folder import CLASSIFIER_FILE, ENCODER_FILE

Colours = tuple[tuple[float, ...], tuple[float, ...]]  # mean and deviation of each channel
RANDOM = "random"
WHAT = (
    "a run folder, a file of an encoder, timm:NAME, timm:NAME:FILE, random, or random: before one "
    "of these"
)
_SAYS_LITTLE = ("pretrain", "finetune", "run")  # of a run folder's name


@dataclass(frozen=True, eq=False)
class Subject:
    """A frozen network that is looked at, what images have to be for it, and what it is called."""

    name: str
    """Short, for tables and names of files: letters, digits, dots, hyphens and underscores."""
    what: str
    """As it was named."""
    network: Network
    """Normalised images (batch, chans, img_size, img_size) -> (batch, num_features), the mean over
    the positions of the last stage; in eval mode, on the CPU, in float32."""
    fingerprint: str
    """Of the weights, the architecture and what is done to images."""
    img_size: int | tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float = 0.875
    interpolation: str = "bicubic"
    decoder: str = "fast"
    max_pixels: int = 178_956_970
    black: float = 0.0
    white: float | None = None
    dtype: str | None = None
    channels: tuple[int, ...] | None = None
    channel_axis: str | None = None
    nodata: float | None = None
    channel_names: tuple[str, ...] | None = None
    picture_channels: tuple[int, ...] | None = None
    told: str = ""
    """What was recognised, in one line."""


def check_asked(seed: int, img_size: int | None) -> None:
    """Refuse what no network can be drawn from or given.

    Raises:
        UserError: If the seed is negative, or images have no pixel.
    """
    if seed < 0:
        raise UserError(f"seed={seed} draws nothing; give 0 or more")
    if img_size is not None and img_size < 1:
        raise UserError(f"img_size={img_size} has no pixel; give 1 or more, or leave it out")


def find_subject(
    what: str,
    *,
    like: str | None = None,
    seed: int = 0,
    img_size: int | None = None,
    colours: Colours | None = None,
) -> Subject:
    """Find what a word names, and freeze it.

    Args:
        what: A run folder, of a pretraining or a fine-tuning, ended or not; a file that
            `ssl_swin.load_encoder` takes, or a name of timm's Swins; "timm:NAME" for any model of
            timm, with the weights that timm has, or "timm:NAME:FILE" with those of a file;
            "random:WHAT" for the architecture of one of these with weights that are drawn anew; or
            "random", which is that of `like`.
        like: What "random" has the architecture of.
        seed: Of random weights.
        img_size: In pixels, if not that of the weights.
        colours: Mean and deviation of the images of weights that do not know theirs.

    Raises:
        UserError: If it is not there, cannot be read, or cannot be what it is asked to be.
        MachineError: If timm's weights are not here and cannot be fetched.
    """
    check_asked(seed, img_size)
    if what == RANDOM and like is None:
        raise UserError(
            "random has the architecture of another network, and there is none: name one before "
            "or after it, or give random:WHAT"
        )
    meant = like if what == RANDOM and like is not None else what.removeprefix(f"{RANDOM}:")
    drawn = meant != what
    if meant == RANDOM or meant.startswith(f"{RANDOM}:"):
        raise UserError(f"{what} is random twice; give {WHAT}")
    find = _find_timm if meant.startswith(TIMM) else partial(_find_house, colours=colours)
    with torch.random.fork_rng(devices=[]):  # others are drawn, too, before they get weights
        found = find(meant, seed if drawn else None, img_size)
    name = RANDOM if what == RANDOM else f"{RANDOM}-{found.name}" if drawn else found.name
    told = f"random weights, seed {seed}, of {found.told}" if drawn else found.told
    return replace(found, what=what, name=name, told=told, fingerprint=_fingerprint(found))


def networks_meant(whats: Sequence[str]) -> list[str | None]:
    """Return the network that each WHAT names or has the architecture of, random or not.

    "random" has that of the first other one; None if there is none.
    """
    bare = [what.removeprefix(f"{RANDOM}:") for what in whats]
    like = next((one for one, what in zip(bare, whats, strict=True) if what != RANDOM), None)
    return [like if what == RANDOM else one for one, what in zip(bare, whats, strict=True)]


def find_subjects(
    whats: Sequence[str], *, seed: int = 0, img_size: int | None = None
) -> list[Subject]:
    """Find several; "random" has the architecture of the first other one, and no two one name.

    Raises:
        UserError: If none is named, or as `find_subject`.
    """
    if not whats:
        raise UserError(f"nothing is named that could be evaluated; give {WHAT}")
    found = [
        find_subject(what, like=like, seed=seed, img_size=img_size)
        for what, like in zip(whats, networks_meant(whats), strict=True)
    ]
    names: list[str] = []
    taken = {one.name for one in found}
    for one in found:
        numbered = (f"{one.name}-{number}" for number in count(2))
        free = (name for name in numbered if name not in taken)
        names.append(next(free) if one.name in names else one.name)
        taken.add(names[-1])
    return [replace(one, name=name) for one, name in zip(found, names, strict=True)]


def _find_house(
    what: str, seed: int | None, img_size: int | None, colours: Colours | None
) -> Subject:
    """Find an encoder of the house, or weights that fit one; with a seed they are drawn."""
    changes: dict[str, Any] = {} if img_size is None else {"img_size": img_size}
    try:
        weights = read_unfinished(Path(what)) or find_any(what)
    except FileNotFoundError as error:
        raise UserError(str(error)) from error
    if colours is not None and weights.mean is None:
        changes |= zip(("mean", "std"), colours, strict=True)
    found = as_image_encoder(weights, what, **changes)
    told = found.report.told if weights.card is None else weights.told
    encoder = found.encoder
    if seed is not None:
        torch.manual_seed(seed)
        encoder = build_encoder(**encoder.architecture())
    return _of_house(found, encoder, _short(what), what, told)


def _of_house(found: ImageEncoder, encoder: Any, name: str, what: str, told: str) -> Subject:
    card = found.card
    rows, cols = encoder.img_size
    size = rows if rows == cols else (rows, cols)
    reading = {name: getattr(card, name) for name in READING if name != "crop_pct"}
    network = HouseNetwork(encoder).float().eval().requires_grad_(False)
    return Subject(
        name, what, network, "", size, card.mean, card.std, card.crop_pct, told=told, **reading
    )


def _find_timm(what: str, seed: int | None, img_size: int | None) -> Subject:
    """Find a model of timm; with a seed its weights are drawn."""
    named = read_name(what)
    name, file = str(named.model), named.file
    if seed is not None:
        torch.manual_seed(seed)
    found = open_timm(name, file, img_size, trained=seed is None)
    network = TimmNetwork(found.model, name.partition(".")[0]).eval().requires_grad_(False)
    sizes = found.img_size, found.mean, found.std, found.crop_pct, found.interpolation
    told = f"{found.told}, weights of {file}" if file and seed is None else found.told
    return Subject(_as_name(name), what, network, "", *sizes, told=told)


def _short(what: str) -> str:
    """Return a short name of a run folder or a file: of two folders where one says little."""
    path = Path(what)
    if path.name in (ENCODER_FILE, CLASSIFIER_FILE) and path.parent.name:
        path = path.parent
    if path.exists():
        path = path.absolute() if path.name in ("", "..") else path
        parts = path.parts[-2:] if path.name in _SAYS_LITTLE else (path.name,)
        return _as_name(path.stem if path.is_file() else "-".join(parts))
    return _as_name(what)  # a name of timm's weights


def _as_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text, flags=re.ASCII).strip("-.") or "network"


def _fingerprint(found: Subject) -> str:
    """Hash weights, architecture and what is done to images; neither names nor places."""
    body = found.network.body
    if isinstance(found.network, TimmNetwork):
        known = [found.network.architecture, str(body)]
    else:
        known = body.architecture()
    card = {
        key: value
        for key, value in vars(found).items()
        if key not in ("name", "what", "network", "fingerprint", "told", "picture_channels")
        and (key not in (*BANDS, *NAMED) or value is not None)  # as in release 0.3, which knew none
    }
    digest = hashlib.sha256(json.dumps([known, card]).encode())
    for name, value in sorted(body.state_dict().items()):
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
