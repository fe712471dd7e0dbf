"""Looks at some images of a set: what they hold, which are broken, what may stand for none."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ssl_swin.data.pixels.array_files import is_array
from ssl_swin.data.pixels.bands import bands_of, read_bands
from ssl_swin.data.pixels.decode import Bands, UnreadableImage, is_deep
from ssl_swin.data.pixels.formats import open_image
from ssl_swin.data.pixels.picture import there
from ssl_swin.data.shards.names import printable
from ssl_swin.data.shards.reader import ShardReader, some_places
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import ShardError, UserError

NUM_LOOKED_AT = 64
_ODD_SHARE = 0.005  # of the pixels; so many that are alike in all channels are told
_MOST_TOLD = 3


class Kind(NamedTuple):
    """What an image holds."""

    bands: Bands | None
    """None of colours of 8 bits."""
    in_chans: int

    def told(self) -> str:
        """Say it."""
        if self.bands is None:
            return "colours of 8 bits"
        return f"{self.bands.dtype}, channels: {self.in_chans}"


class Expected(NamedTuple):
    """What the user says of the images; None where they tell it."""

    max_pixels: int
    channel_axis: str | None = None
    nodata: float | None = None


@dataclass
class Look:
    """What some images of a set hold."""

    where: str
    num: int = 0
    kinds: Counter[Kind] = field(default_factory=Counter)
    """Colours, grey or RGB, are one kind, as with three channels."""
    num_grey: int = 0
    broken: list[tuple[str, str]] = field(default_factory=list)
    """Key and reason of those that cannot be read."""
    without: list[str] = field(default_factory=list)
    """Keys of those that hold no number at all."""
    num_values: int = 0
    num_none: int = 0
    num_px: int = 0
    alike: Counter[float] = field(default_factory=Counter)
    """Numbers that pixels hold in all of several channels -> how many pixels."""

    @property
    def kind(self) -> Kind:
        """What most of them hold; colours are grey if all of them are.

        Raises:
            ShardError: If none can be read.
        """
        if not self.kinds:
            key, why = self.broken[0] if self.broken else ("", "there are none")
            raise ShardError(
                f"{self.where}: none of {self.num} images looked at can be read, such as {key!r}: "
                f"{why}; mend them, or give other shards"
            )
        kind, num = self.kinds.most_common(1)[0]
        is_grey = kind.bands is None and num == self.num_grey
        return kind._replace(in_chans=1) if is_grey else kind

    def add(self, key: str, data: bytes, expected: Expected) -> None:
        """Look at one image."""
        self.num += 1
        try:
            kind = kind_of(data, expected)
            if kind.bands is None:
                self.num_grey += kind.in_chans == 1
                self.kinds[kind._replace(in_chans=3)] += 1
            else:
                self.kinds[kind] += 1
                self._count(key, read_bands(data, kind.bands, expected.max_pixels), expected.nodata)
        except UnreadableImage as error:
            self.broken.append((key, str(error)))

    def _count(self, key: str, values: np.ndarray, nodata: float | None) -> None:
        some = there(values, nodata)
        self.num_values += some.size
        self.num_none += some.size - int(some.sum())
        self.num_px += some.shape[0] * some.shape[1]
        if not some.any():
            self.without.append(key)
        if values.shape[2] > 1:
            first = values[:, :, :1]
            same = ((values == first) & some).all(axis=2)
            numbers, nums = np.unique(first[same], return_counts=True)
            self.alike.update(dict(zip(numbers.tolist(), nums.tolist(), strict=True)))

    def lines(self) -> list[str]:
        """Say what a run would stumble over."""
        lines = []
        if self.broken:
            key, why = self.broken[0]
            lines.append(
                f"warning: {len(self.broken)} of {self.num} images looked at cannot be read, such "
                f"as {key!r}: {why}"
            )
        if len(self.kinds) > 1:
            each = (f"{num} of {kind.told()}" for kind, num in self.kinds.most_common(_MOST_TOLD))
            more = "; ..." if len(self.kinds) > _MOST_TOLD else ""
            lines.append(
                f"warning: {self.num} images looked at are of {len(self.kinds)} kinds: "
                f"{'; '.join(each)}{more}; a run takes those of one kind, and the others count as "
                "broken unless data.dtype and data.channels fit them, too"
            )
        if self.without:
            lines.append(
                f"warning: {len(self.without)} of {self.num} images looked at hold no number at "
                f"all, such as {self.without[0]!r}: there is nothing to learn from them"
            )
        if self.num_none:
            lines.append(f"{100 * self.num_none / self.num_values:.3g} % of their numbers are none")
        return lines + self.told_alike()

    def told_alike(self) -> list[str]:
        """Say which number seems to stand for none."""
        number, num = self.alike.most_common(1)[0] if self.alike else (0.0, 0)
        share = num / max(self.num_px, 1)
        if share < _ODD_SHARE:
            return []
        return [
            f"warning: {100 * share:.3g} % of the pixels are {number:g} in all channels; if that "
            f"stands for none, say so: --nodata {number:g} here and in shards info --stats, "
            f"data.nodata={number:g} in a config"
        ]


def kind_of(data: bytes, expected: Expected) -> Kind:
    """Say what one image holds; of most that are colours of 8 bits only the header is read.

    Raises:
        UnreadableImage: If it cannot be read.
        UserError: If its numbers have no such `nodata`.
    """
    found, max_pixels = None, expected.max_pixels
    if expected.nodata is not None or is_array(data) or is_deep(open_image(data, max_pixels)):
        found = bands_of(data, max_pixels, expected.channel_axis, expected.nodata)
    if found is None:
        is_grey = open_image(data, max_pixels).mode in ("1", "L", "LA")
        return Kind(None, 1 if is_grey else 3)
    dtype, nodata = np.dtype(found[0].dtype), expected.nodata
    if nodata is not None and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not (limits.min <= nodata <= limits.max and float(nodata).is_integer()):
            raise UserError(
                f"nodata={nodata:g} is no {dtype}, which the images hold; give a whole number from "
                f"{limits.min} to {limits.max}"
            )
    return Kind(*found)


def look_at(shards: ShardSet, expected: Expected, num: int = NUM_LOOKED_AT) -> Look:
    """Look at so many images, spread evenly over a set; of a remote one at fewer.

    Raises:
        ShardError: If a shard was changed.
        UserError: As `kind_of`.
    """
    look, reader = Look(shards.storage.where(0)), ShardReader(shards, whole=False)
    for place in some_places(shards, num):
        look.add(printable(reader.key(*place)), reader.read(*place), expected)
    return look
