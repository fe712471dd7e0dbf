"""Numbers of any number of channels -> colours that a person sees; for pictures alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ssl_swin.data.pixels.bands import read_bands
from ssl_swin.data.pixels.crop import to_image
from ssl_swin.data.pixels.decode import MODES, Reading
from ssl_swin.data.pixels.formats import decode

_LOW, _HIGH = 2, 98  # per cent of the numbers: what becomes black, and white
_MOST_LOOKED_AT = 2**18  # numbers of a channel


@dataclass(frozen=True)
class Stretch:
    """A way from channels to grey or RGB: linear, then from one percentile to another.

    One channel is grey, and three are red, green and blue. Two are magenta and green. Of more the
    three principal ones are shown, unless somebody chooses some.
    """

    weights: np.ndarray  # float64 (chans, 1 or 3)
    low: np.ndarray  # (1 or 3,)
    high: np.ndarray

    @classmethod
    def of(
        cls,
        values: np.ndarray,
        there: np.ndarray | None = None,
        shown: Sequence[int] | None = None,
    ) -> "Stretch":
        """Choose it for some numbers (..., chans), of which `there` tells those that are some.

        One or three channels that are to be `shown` are grey, or red, green and blue.
        """
        pixels = values.reshape(-1, values.shape[-1])
        if there is not None:
            pixels = pixels[there.reshape(pixels.shape).all(axis=1)]
        pixels = pixels[:: max(1, len(pixels) // _MOST_LOOKED_AT)].astype(np.float64)
        pixels = pixels[np.isfinite(pixels).all(axis=1)]
        if not len(pixels):
            pixels = np.zeros((1, values.shape[-1]))
        weights = _weights(pixels) if shown is None else np.eye(pixels.shape[1])[:, [*shown]]
        low, high = np.percentile(pixels @ weights, (_LOW, _HIGH), axis=0)
        return cls(weights, low, np.where(high > low, high, low + 1))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return uint8 (..., 1 or 3) of numbers (..., chans); what is no number is black."""
        with np.errstate(invalid="ignore"):  # infinity times 0
            shown = (values.astype(np.float64) @ self.weights - self.low) / (self.high - self.low)
        return (np.nan_to_num(shown, nan=0.0).clip(0, 1) * 255).round().astype(np.uint8)


def _weights(pixels: np.ndarray) -> np.ndarray:
    """Return how much of each channel goes into grey, or into red, green and blue."""
    num = pixels.shape[1]
    if num in MODES:
        return np.eye(num)
    if num == 2:
        return np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    deviation = pixels.std(axis=0)
    scale = 1 / np.where(deviation > 0, deviation, 1)
    directions = np.linalg.eigh(np.cov((pixels * scale).T, ddof=0))[1][:, ::-1][:, :3]
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[largest, range(3)])  # else either way round
    return directions * scale[:, None]


def there(values: np.ndarray, nodata: float | None) -> np.ndarray:
    """Say which numbers are some."""
    found = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    return found if nodata is None else found & (values != values.dtype.type(nodata))


def as_colours(
    values: np.ndarray, nodata: float | None = None, shown: Sequence[int] | None = None
) -> np.ndarray:
    """Return numbers (..., chans) as uint8 (..., 1 or 3): colours of 8 bits as they are.

    `shown` is as for `Stretch.of`.
    """
    if values.dtype == np.uint8 and values.shape[-1] in MODES and shown is None:
        return values
    return Stretch.of(values, there(values, nodata), shown)(values)


def picture(data: bytes, in_chans: int, reading: Reading) -> Image.Image:
    """Return all of a file as a person sees it.

    Raises:
        UnreadableImage: As `decode` or `read_bands`.
    """
    bands = reading.bands
    if bands is None:
        return decode(data, in_chans, reading)
    values = read_bands(data, bands, reading.max_pixels)
    return to_image(as_colours(values, bands.nodata, bands.shown))
