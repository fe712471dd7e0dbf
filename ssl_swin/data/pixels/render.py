"""One sample: its bytes -> its crop -> decoded pixels -> resized, in its place in the batch.

Three steps, because a batch takes the first one of many samples in one go, and `doctor.py` times
each. "pil" is the reference; "fast" does the same to JPEGs by libjpeg-turbo and torch, and is "pil"
for everything else; "gpu" is "fast", but for those JPEGs that `on_device.py` decodes.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ssl_swin.data.pixels.decode import Jpeg, Region, open_jpeg
from ssl_swin.data.pixels.formats import decode
from ssl_swin.data.pixels.transforms import Crop, Transform, cut_region

DECODERS = ("fast", "pil", "gpu")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done with one sample; of its image nothing is decoded yet."""

    data: bytes
    key: tuple[int, int]
    """Epoch and place in the shard set."""
    jpeg: Jpeg | None = None
    crop: Crop | None = None


@dataclass(frozen=True)
class Renderer:
    """Makes pixels of bytes.

    Attributes:
        transform: Which pixels.
        in_chans: 1 for grey, 3 for RGB.
        decoder: One of `DECODERS`.
    """

    transform: Transform
    in_chans: int
    decoder: str = "fast"

    def plan(self, data: bytes, epoch: int, index: int) -> Plan:
        """Read the header and draw the crop, where the fast way is open."""
        jpeg = open_jpeg(data) if self.decoder != "pil" else None
        if jpeg is None:
            return Plan(data, (epoch, index))
        return Plan(data, (epoch, index), jpeg, self.transform.crop(jpeg.size, epoch, index))

    def defers(self, plan: Plan) -> bool:
        """Whether the device does the rest."""
        here = self.decoder != "gpu" or self.transform.changes_colours
        return not here and plan.jpeg is not None

    def decode(self, plan: Plan) -> Region | Image.Image:
        """Decode what the crop needs: a region by the fast way, else the image.

        Raises:
            UnreadableImage: If there is no image in the bytes.
        """
        if plan.jpeg is not None and plan.crop is not None:
            region = plan.jpeg.region(plan.crop.box, plan.crop.size, self.in_chans)
            if region is not None:
                return region
        return decode(plan.data, self.in_chans)

    def write(self, plan: Plan, decoded: Region | Image.Image, slot: np.ndarray) -> None:
        """Resize, flip, augment, and write into `slot`, uint8 (in_chans, height, width)."""
        if isinstance(decoded, Image.Image):
            pixels = np.asarray(self.transform(decoded, *plan.key))
        else:
            assert plan.crop is not None
            pixels = cut_region(decoded, plan.crop)
            if self.transform.changes_colours:
                image = self.transform.finish(Image.fromarray(pixels), *plan.key)
                pixels = np.asarray(image)
        # (height, width) or (height, width, chans) -> (chans, height, width)
        slot[:] = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
