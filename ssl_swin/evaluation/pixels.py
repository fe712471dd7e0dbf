"""Images in their order -> batches of pixels: decoded, resized and cut as an evaluation does."""

from dataclasses import replace
from typing import NoReturn, Protocol

import torch
from torch.utils.data import Dataset

from ssl_swin.data.batches.batch import Batch, empty
from ssl_swin.data.order.lanes import Share
from ssl_swin.data.pixels.decode import Reading, ReadingSettings, UnreadableImage, sides
from ssl_swin.data.pixels.render import Renderer
from ssl_swin.data.pixels.transforms import EvaluationTransform
from ssl_swin.errors import UserError
from ssl_swin.evaluation.images import Images


class PixelCard(ReadingSettings, Protocol):
    """What images have to be for a network: a classifier's card says it, and a frozen network."""

    @property
    def img_size(self) -> int | tuple[int, int]:
        """Both sides in pixels, or (rows, columns)."""

    @property
    def mean(self) -> tuple[float, ...]:
        """Per channel, subtracted from values scaled to [0, 1]."""

    @property
    def std(self) -> tuple[float, ...]:
        """Per channel, what the difference is divided by."""

    @property
    def crop_pct(self) -> float:
        """Share of the short side that the centre crop keeps."""

    @property
    def channel_names(self) -> tuple[str, ...] | None:
        """Of what the network takes, if they have any."""

    @property
    def interpolation(self) -> str:
        """How images are resized before that crop: "bicubic" or "bilinear"."""


def reading_by(card: PixelCard, images: Images) -> Reading:
    """Return how images are read: their channels by name, where card and shards name them.

    Raises:
        UserError: If shards lack a channel, or have them in several orders.
    """
    reading, names = Reading.of(card), card.channel_names
    if reading.bands is None or names is None:
        return reading
    found = {
        where: reading.bands.of_files(names, named, where)
        for where, named in images.channel_names().items()
    }
    taken = {bands.channels: where for where, bands in found.items()}
    if len(taken) > 1:
        one, other = list(taken.values())[:2]
        raise UserError(
            f"{one} and {other} have their channels in another order; give them one at a time"
        )
    return replace(reading, bands=next(iter(found.values())))


class PixelStream(Dataset):
    """The images as a card wants them; one that cannot be decoded is black.

    The same bytes give the same pixels as in `ImageStream` with an `EvaluationTransform`, whether
    they come from a file or a shard. A batch holds
        `index` int64 (batch,), the place of each image;
        `image` (batch, in_chans, *img_size), uint8, or of bands what the card says;
        `broken` bool (batch,), whether it cannot be decoded.
    """

    def __init__(self, images: Images, card: PixelCard) -> None:
        """Hold images against a card.

        Raises:
            UserError: If shards name their channels, and lack one that the card names.
        """
        self.images, self.img_size, self.in_chans = images, card.img_size, len(card.mean)
        reading = reading_by(card, images)
        transform = EvaluationTransform(card.img_size, card.crop_pct, card.interpolation)
        self.renderer = Renderer(transform, self.in_chans, reading)

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, share: Share) -> Batch:
        """Read the images at these places.

        Raises:
            ShardError, RemoteError or OSError: If the storage fails, or a shard was changed.
        """
        num, size = len(share.index), sides(self.img_size)
        batch = empty(
            {
                "index": ((num,), torch.int64),  # first: its elements are the largest
                "image": ((num, self.in_chans, *size), self.renderer.torch_dtype),
                "broken": ((num,), torch.bool),
            }
        )
        batch["index"][:] = torch.from_numpy(share.index)
        slots, broken = batch["image"].numpy(), batch["broken"].numpy()
        for place, slot in enumerate(slots):
            try:
                sample = self.renderer.prepare(self.images.read(int(share.index[place])), 0, 0)
                self.renderer.write(sample, self.renderer.decode(sample), slot)
                broken[place] = False
            except UnreadableImage:
                slot[:], broken[place] = 0, True
        return batch

    def why_broken(self, place: int) -> str:
        """Return why an image cannot be decoded."""
        try:
            self.renderer.decode(self.renderer.prepare(self.images.read(place), 0, 0))
        except UnreadableImage as error:
            return str(error)
        return "it can be decoded now"

    def refuse(self, where: str = "") -> NoReturn:
        """Refuse images of which none can be decoded: as what, and why the first cannot.

        Raises:
            UserError: Always.
        """
        chans = f"{self.in_chans} channel{'' if self.in_chans == 1 else 's'}"
        raise UserError(
            f"{where}none of the {len(self):,} images can be decoded as {chans} of "
            f"{self.renderer.dtype}, which the network takes; of the first: "
            f"{self.why_broken(0)}; give others"
        )
