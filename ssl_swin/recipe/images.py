"""What the images are: how many, how large, how deep, in which colours, of which classes."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ssl_swin.data.open import open_shards
from ssl_swin.data.pixels.channels import Names
from ssl_swin.data.pixels.decode import Bands, Reading, UnreadableImage
from ssl_swin.data.pixels.depths import black_and_white, deep_range
from ssl_swin.data.pixels.formats import decode, open_image
from ssl_swin.data.shards.channel_names import channel_names_of, require_as_many
from ssl_swin.data.shards.classes import names_of
from ssl_swin.data.shards.index_file import NO_LABEL
from ssl_swin.data.shards.names import BY_FOLDER, TRAIN, VAL, has_tars, is_remote, usual_split
from ssl_swin.data.shards.reader import some_images
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import UserError
from ssl_swin.recipe.numbers import COLOURS, Told, numbers_in, percentiles
from ssl_swin.shard_tools.set_folders import list_sets
from ssl_swin.shard_tools.source import list_images

NUM_LOOKED_AT = 256  # images that are decoded for sizes, colours and statistics, spread evenly
_SIDE = 96  # short side that statistics are taken at, pixels: about what a network sees
_FAIR_COLOURS = 2.0  # levels of 255 by which channels of a grey image may differ, by JPEG


@dataclass(frozen=True)
class Images:
    """What there is to train on."""

    source: str
    """As it was given."""
    shards: str | None
    """Of training, or None while the images are not packed."""
    val_shards: str | None
    num: int
    short_sides: tuple[int, int, int]
    """Of the images, pixels: 5, 50 and 95 per cent."""
    mean: tuple[float, ...]
    """Of each channel, of pixels in [0, 1]; one of grey images, three of RGB."""
    std: tuple[float, ...]
    classes: tuple[str, ...] = ()
    """Their names, as far as they are known."""
    labelled_share: float = 0.0
    """Share of the images that have a label, [0, 1]."""
    black: float = 0.0
    """Of grey files of more than 8 bits, as `data.black`."""
    white: float | None = None
    """Of the same, as `data.white`; None where the usual one fits."""
    unreadable_share: float = 0.0
    """Share of those looked at that could not be decoded, [0, 1]."""
    split: str = f"{VAL}=0.1"
    """How they are to be packed, if they are not yet: as `--split` of `shards create`."""
    held_out: str = VAL
    """The set that is held out then."""
    bands: Bands | None = None
    """How numbers are taken as they are, if the images are no colours of 8 bits."""
    channel_names: Names | None = None
    """Of these, if they have any."""

    @property
    def in_chans(self) -> int:
        """Channels: of colours 1 or 3."""
        return len(self.mean)


def look_at(source: str, told: Told = COLOURS) -> Images:
    """Look at shards, at what `shards create --split` wrote, or at a folder of image files.

    The same images give the same answer. Images that are no colours are taken as they are, and so
    are all of which the user has `told` what only such images have.

    Raises:
        UserError: If there is nothing there, or none of the images looked at can be decoded.
        ShardError: If the shards are damaged, or the folder holds neither shards nor images.
    """
    place = Path(source).expanduser()
    if not (place.exists() or is_remote(source) or set(source) & set("*?[{")):
        raise UserError(f"{source} is not there; give a folder of images, or shards")
    if is_remote(source) or not place.is_dir() or has_tars(place):
        return _of_shards(source, source, None, told)
    if has_tars(place / TRAIN):
        val = place / VAL
        return _of_shards(source, str(place / TRAIN), str(val) if has_tars(val) else None, told)
    split = usual_split(place)
    found = (list_sets if split[0] == BY_FOLDER else list_images)(place)
    step = ceil(len(found.files) / NUM_LOOKED_AT)
    files = [*_files(place, [file.name for file in found.files[::step]])]
    seen = _seen(source, files, told)
    labelled = sum(file.label is not None for file in found.files) / len(found.files)
    names = tuple(found.classes)
    return Images(
        source,
        None,
        None,
        len(found.files),
        classes=names,
        labelled_share=labelled,
        split=split[0],
        held_out=split[1],
        **seen,
    )


def _of_shards(source: str, shards: str, val_shards: str | None, told: Told) -> Images:
    opened = open_shards(shards)
    seen = _seen(source, [*some_images(opened, NUM_LOOKED_AT)], told)
    names, labelled = names_of(opened) or (), _labelled_share(opened)
    num = opened.num_samples
    if seen.get("bands") is not None:
        seen["channel_names"] = channel_names_of(opened)
        require_as_many(seen["channel_names"], len(seen["mean"]), shards)
    where = source, shards, val_shards
    return Images(*where, num, classes=names, labelled_share=labelled, **seen)


def _labelled_share(shards: ShardSet) -> float:
    """Return the share of the samples looked at that have a label."""
    places = np.linspace(0, shards.num_samples - 1, NUM_LOOKED_AT).astype(np.int64)
    pairs = np.stack(shards.locate(places), axis=1).tolist()
    kinds = [int(shards.storage.rows(shard)[row]["label_kind"]) for shard, row in pairs]
    return sum(kind != NO_LABEL for kind in kinds) / len(kinds)


def _files(folder: Path, names: list[str]) -> Iterator[bytes]:
    for name in names:
        with suppress(OSError):  # `shards create` will name it
            yield (folder / name).read_bytes()


def _seen(source: str, files: list[bytes], told: Told) -> dict[str, Any]:
    """Return what files say of `Images`, by the names of its fields."""
    if told == COLOURS and (found := _colours(files)) is not None:
        return found
    return numbers_in(source, files, told)


def _colours(files: list[bytes]) -> dict[str, Any] | None:
    """Return what files of colours say; None if none can be decoded."""
    black, white = 0.0, None
    if (found := deep_range(files)) is not None:
        black, white = black_and_white(*found)
    reading = Reading(black=black, white=white)
    sides, pixels, grey = [], [], True
    for data in files:
        with suppress(UnreadableImage):
            image = decode(data, 3, reading)
            is_grey = open_image(data).mode in ("1", "L", "LA") or _same_channels(image)
            sides.append(min(image.size))
            pixels.append(np.asarray(_small(image), np.float64).reshape(-1, 3) / 255)
            grey = grey and is_grey
    if not pixels:
        return None
    every = np.concatenate(pixels)[:, : 1 if grey else 3]
    mean, std = (tuple(np.round(of, 3).tolist()) for of in (every.mean(0), every.std(0)))
    return {
        "short_sides": percentiles(sides),
        "mean": mean,
        "std": tuple(max(one, 0.001) for one in std),
        "black": black,
        "white": white,
        "unreadable_share": 1 - len(pixels) / len(files),
    }


def _same_channels(image: Image.Image) -> bool:
    """Whether an RGB image shows only greys."""
    values = np.asarray(_small(image), np.int16)
    return float(np.abs(values - values[..., :1]).max()) <= _FAIR_COLOURS


def _small(image: Image.Image) -> Image.Image:
    scale = _SIDE / min(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)
