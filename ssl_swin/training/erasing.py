"""Fills the erased rectangles of normalised images with noise, without waiting for the device."""

from collections.abc import Iterable, Iterator
from statistics import NormalDist

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ssl_swin.data.batches.batch import Batch
from ssl_swin.draw import Purpose, normals
from ssl_swin.models.hashing import GOLDEN, image_keys, mix

NUM_LEVELS = 2**16  # values that noise takes, each as likely as another


class Erasing(nn.Module):
    """Replaces one rectangle of some images by normal noise, a pure function of image and pixel.

    Args:
        seed: The run's.
        draws: "counter" hashes (seed, epoch, index, pixel) on the device, in integers, and takes
            the normal distribution from a table, so that all devices agree. "numpy" is how version
            0.1 drew: on the CPU, which waits for the device.

    Source:
        timm's RandomErasing in "pixel" mode; `erased_box` draws the rectangles.
    """

    quantiles: Tensor

    def __init__(self, seed: int, draws: str = "counter") -> None:
        super().__init__()
        self.seed, self.draws = seed, draws
        normal, levels = NormalDist(), range(NUM_LEVELS if draws == "counter" else 0)
        quantiles = [normal.inv_cdf((level + 0.5) / NUM_LEVELS) for level in levels]
        table = torch.tensor(quantiles, dtype=torch.float32)
        self.register_buffer("quantiles", table, persistent=False)

    def forward(self, images: Float[Tensor, "batch chans height width"], batch: Batch) -> Tensor:
        """Erase in place, and return the images.

        The batch has `index`, `epoch`, and `erased`, int64 (batch, 4), on the CPU: how much is
        erased must be known without asking the device.
        """
        boxes, (_, chans, rows, cols) = batch["erased"], images.shape
        num_rows, num_px = int(boxes[:, 2].sum()), int(boxes[:, 2:].prod(1).sum())
        if not num_px:
            return images
        boxes = boxes.to(images.device, non_blocking=True)
        top, left, height, width = boxes.unbind(1)  # (batch,) each
        image, row = _count_up(top, height, num_rows)  # (num_rows,) each: of each erased row
        begin = row * cols + left[image]
        segment, place = _count_up(begin, width[image], num_px)  # (num_px,) each: of each pixel
        image = image.index_select(0, segment)  # (num_px,)
        noise: Iterable[Tensor]
        if self.draws == "numpy":
            noise = _numpy_noise(batch, chans, self.seed).to(images.device)
        else:
            keys = image_keys(Purpose.ERASING, self.seed, batch["epoch"], batch["index"])
            noise = self._draw(keys.index_select(0, image), place, chans)
        for chan, values in enumerate(noise):
            where = (image * chans + chan) * (rows * cols) + place
            images.view(-1).index_copy_(0, where, values.to(images.dtype))
        return images

    def _draw(
        self, key: Int64[Tensor, " num_px"], place: Int64[Tensor, " num_px"], chans: int
    ) -> Iterator[Float[Tensor, " num_px"]]:
        """Yield the noise of each channel; the 64 bits of a hash are for four of them."""
        for first in range(0, chans, 4):
            word = mix(key + (place * chans + first + 1) * GOLDEN)
            for chan in range(min(4, chans - first)):
                level = (word >> (16 * chan)) & (NUM_LEVELS - 1)
                yield self.quantiles.index_select(0, level)


def _count_up(
    begin: Int64[Tensor, " num"], length: Int64[Tensor, " num"], total: int
) -> tuple[Int64[Tensor, " total"], Int64[Tensor, " total"]]:
    """Count up from each of `begin`; return whose each number is, and the numbers."""
    owner = torch.repeat_interleave(length, output_size=total)
    first = begin - (length.cumsum(0) - length)
    return owner, first.index_select(0, owner) + torch.arange(total, device=begin.device)


def _numpy_noise(batch: Batch, chans: int, seed: int) -> Float[Tensor, "chans num_px"]:
    keys = zip(batch["epoch"].tolist(), batch["index"].tolist(), strict=True)
    found = [
        normals(chans * h * w, Purpose.ERASING, seed, *key, 1).astype(np.float32).reshape(chans, -1)
        for (_, _, h, w), key in zip(batch["erased"].tolist(), keys, strict=True)
        if h
    ]
    return torch.from_numpy(np.concatenate(found, axis=1))
