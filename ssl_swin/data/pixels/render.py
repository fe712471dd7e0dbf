"""One sample: its bytes -> its crop -> decoded pixels -> resized, in its place in the batch.

There are three steps, because a batch prepares many samples in one go, and `doctor.py` times each
step. The decoder "pil" is the reference. "fast" does the same to JPEGs by libjpeg-turbo and torch,
and is "pil" for everything else.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from ssl_swin.data.pixels.bands import read_bands
from ssl_swin.data.pixels.crop import Crop, cut_bands, cut_region, to_image
from ssl_swin.data.pixels.decode import USUAL, Bands, Reading, UnreadableImage
from ssl_swin.data.pixels.formats import decode
from ssl_swin.data.pixels.jpeg import Jpeg, Region, open_jpeg
from ssl_swin.data.pixels.transforms import Transform

Decoded = Region | Image.Image | np.ndarray


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """The bytes of one sample, and how they become pixels; nothing is decoded yet."""

    data: bytes
    key: tuple[int, int]
    """Epoch and place in the shard set."""
    jpeg: Jpeg | None = None
    """Its header, where the fast way is open."""
    crop: Crop | None = None
    """Its crop, where the fast way is open; else it is drawn once the image is decoded."""


@dataclass(frozen=True)
class Renderer:
    """Makes pixels of the bytes of a file: grey or RGB of 8 bits, or bands as they are."""

    transform: Transform
    in_chans: int
    reading: Reading = USUAL

    @property
    def dtype(self) -> np.dtype:
        """The type of the pixels."""
        bands = self.reading.bands
        return np.dtype(np.uint8 if bands is None else bands.dtype)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The same for torch."""
        return torch.from_numpy(np.empty(0, self.dtype)).dtype

    def prepare(self, data: bytes, epoch: int, index: int) -> EncodedSample:
        """Read the header and draw the crop, where the fast way is open."""
        fast = self.reading.decoder == "fast" and self.reading.bands is None
        jpeg = open_jpeg(data, self.reading.max_pixels) if fast else None
        crop = self.transform.crop(jpeg.size, epoch, index) if jpeg is not None else None
        return EncodedSample(data, (epoch, index), jpeg, crop)

    def decode(self, sample: EncodedSample) -> Decoded:
        """Decode what the crop needs: a region by the fast way, else as `formats.decode`.

        Bands are a whole array (height, width, chans).
        """
        if self.reading.bands is not None:
            return self._bands(sample.data, self.reading.bands)
        if sample.jpeg is not None and sample.crop is not None:
            region = sample.jpeg.region(sample.crop.box, sample.crop.size, self.in_chans)
            if region is not None:
                return region
        return decode(sample.data, self.in_chans, self.reading)

    def _bands(self, data: bytes, bands: Bands) -> np.ndarray:
        pixels = read_bands(data, bands, self.reading.max_pixels)
        if pixels.shape[2] != self.in_chans:
            raise UnreadableImage(
                f"it has {pixels.shape[2]} channels, and data.mean {self.in_chans}; data.channels "
                "chooses some"
            )
        return pixels

    def write(self, sample: EncodedSample, decoded: Decoded, slot: np.ndarray) -> None:
        """Resize, flip, augment, and write into `slot`, (in_chans, height, width) of `dtype`."""
        if isinstance(decoded, np.ndarray):
            size = decoded.shape[1], decoded.shape[0]
            crop, bands = self.transform.crop(size, *sample.key), self.reading.bands
            pixels = cut_bands(decoded, crop, bands.nodata if bands else None)
        elif isinstance(decoded, Image.Image):
            pixels = np.asarray(self.transform(decoded, *sample.key))
        else:
            assert sample.crop is not None
            pixels = cut_region(decoded, sample.crop)
            if self.transform.changes_colours:
                pixels = np.asarray(self.transform.finish(to_image(pixels), *sample.key))
        # (height, width) or (height, width, in_chans) -> (in_chans, height, width)
        slot[:] = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
