"""Images in any form -> what an encoder takes: the pixels that evaluation in training would see."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from PIL import Image
from torch import Tensor

from ssl_swin.data.pixels.array_files import Raw
from ssl_swin.data.pixels.bands import take_bands
from ssl_swin.data.pixels.decode import (
    USUAL,
    Reading,
    in_colours,
    naming_what_is_broken,
    upright,
)
from ssl_swin.data.pixels.render import EncodedSample, Renderer
from ssl_swin.data.pixels.transforms import EvaluationTransform
from ssl_swin.errors import UserError, usable
from ssl_swin.models.normalise import Normalisation

_ALLOWED = (
    "a path, bytes of a file, a PIL image, an array (height, width) or (height, width, 1 to 4 "
    "channels), a uint8 tensor (channels, height, width), or several of these"
)
_ONE = (str, PathLike, bytes, bytearray, memoryview, Image.Image)
_GREY_TYPES = {"uint8", "bool", "uint16", "int16", "int32", "float32"}  # that decoding knows, too


@dataclass(frozen=True)
class Preprocess:
    """What evaluation in training does to an image, for images in any form.

    The short side is resized to ``img_size / crop_pct`` pixels, bicubic, and the centre is cut out;
    pixels are scaled to [0, 1], less `mean`, over `std`. Of the same file the result is that of
    training bit for bit. Colours are converted to the channels of `mean`: 1 for grey, 3 for RGB;
    what is transparent becomes white. EXIF orientation is followed. Bands are taken as they are,
    from files, or from arrays (height, width, channels).
    """

    img_size: tuple[int, int]
    """Rows and columns of the result, pixels."""
    mean: tuple[float, ...]
    """Of each channel, of pixels in [0, 1]."""
    std: tuple[float, ...]
    """Of each channel."""
    crop_pct: float = 0.875
    """Part of the resized short side that the centre takes."""
    reading: Reading = field(default=USUAL, repr=False)
    """How files are decoded, and what is black and white in grey images of more than 8 bits."""

    def __call__(self, images: Any) -> Float[Tensor, "batch chans height width"]:
        """Return images as the encoder takes them: float32, on the CPU.

        Args:
            images: One image or several; one gives a batch of one. An image is a path, the bytes of
                a file, a PIL image, an array (height, width) of uint8, uint16, int16, int32 or
                float32, an array (height, width, channels) of uint8 with 1 (grey), 2 (grey and
                alpha), 3 (RGB) or 4 (RGBA) channels, or a tensor uint8 (channels, height, width).
                Several are any iterable of these, or an array or tensor with one axis more.

        Raises:
            UserError: If there is no image, or one is of no such kind or cannot be decoded; the
                line says which one, counted from 0.
        """
        return self.normalise(self.pixels(images))

    def pixels(self, images: Any, first: int = 0) -> Shaped[Tensor, "batch chans height width"]:
        """Do all but the last step of a call: return the pixels as uint8, or bands as they are.

        Errors call the first image number `first`.
        """
        given = several(images)
        if not given:
            raise UserError(f"there is no image to preprocess; give {_ALLOWED}")
        shape = (len(given), len(self.mean), *self.img_size)
        batch = torch.empty(shape, dtype=self._renderer.torch_dtype)
        for place, (image, slot) in enumerate(zip(given, batch.numpy(), strict=True), first):
            try:
                self._write(image, slot)
            except ValueError as error:
                name = f" {str(image)!r}" if isinstance(image, str | PathLike) else ""
                raise UserError(f"images[{place}]{name}: {error}") from error
        return batch

    def normalise(
        self, pixels: Shaped[Tensor, "batch chans height width"]
    ) -> Float[Tensor, "batch chans height width"]:
        """Bring pixels, on any device, to the network's numbers, in float32."""
        bands = self.reading.bands
        told = () if bands is None else (1.0, bands.nodata)
        return Normalisation(self.mean, self.std, *told).to(pixels.device)(pixels)

    @property
    def transform(self) -> EvaluationTransform:
        """What is done before the pixels are normalised, for an `ImageStream`."""
        return EvaluationTransform(self.img_size, self.crop_pct)

    @property
    def _renderer(self) -> Renderer:
        return Renderer(self.transform, len(self.mean), self.reading)

    def _write(self, image: Any, slot: np.ndarray) -> None:
        """Write one image's pixels into `slot`, (chans, height, width)."""
        renderer = self._renderer
        if isinstance(image, str | PathLike):
            with usable("cannot be read"):
                image = Path(image).read_bytes()
        if isinstance(image, bytes | bytearray | memoryview):
            sample = renderer.prepare(bytes(image), 0, 0)
            renderer.write(sample, renderer.decode(sample), slot)
            return
        if self.reading.bands is not None:
            raw = _raw(image)
            renderer.write(EncodedSample(b"", (0, 0)), take_bands(raw, self.reading.bands), slot)
            return
        if not isinstance(image, Image.Image):
            image = _to_pillow(_to_array(image))
        with naming_what_is_broken():
            decoded = in_colours(upright(image), len(self.mean), self.reading)
        renderer.write(EncodedSample(b"", (0, 0)), decoded, slot)


def several(images: Any) -> list[Any]:
    """Return one image or several as a list; UserError if it can be neither."""
    if isinstance(images, _ONE):
        return [images]
    if isinstance(images, np.ndarray | Tensor):
        one_more = 4 if isinstance(images, np.ndarray) or images.ndim > 3 else 0
        return list(images) if images.ndim == one_more else [images]
    if isinstance(images, Iterable) and not isinstance(images, dict):
        return list(images)
    raise UserError(f"images are a {type(images).__name__}; allowed are {_ALLOWED}")


def _to_array(image: Any) -> np.ndarray:
    """Return an image that is an array or a tensor as (height, width), or with channels last."""
    if isinstance(image, Tensor):
        if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] not in (1, 2, 3, 4):
            raise UserError(
                f"a tensor {_told(image)}; allowed is uint8 (1 to 4 channels, height, width). What "
                "is normalised already goes to the encoder as it is"
            )
        return image.detach().cpu().permute(1, 2, 0).numpy()
    if not isinstance(image, np.ndarray):
        raise UserError(f"a {type(image).__name__}; allowed is {_ALLOWED}")
    return image


def _raw(image: Any) -> Raw:
    """Return the numbers of an image in memory, whose channels come last, of a tensor first."""
    if isinstance(image, Tensor):
        return Raw(image.detach().cpu().numpy(), 0 if image.ndim == 3 else None)
    values = np.asarray(image)
    if values.ndim not in (2, 3) or values.dtype.hasobject:
        raise UserError(f"{_told(values)} is no image; give (height, width, channels)")
    return Raw(values, 2 if values.ndim == 3 else None)


def _to_pillow(array: np.ndarray) -> Image.Image:
    """Return an array (height, width) or (height, width, channels) as an image of its own mode."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    grey = array.ndim == 2 and array.dtype.name in _GREY_TYPES
    colours = array.ndim == 3 and array.shape[2] in (2, 3, 4) and array.dtype == np.uint8
    if not (grey or colours) or 0 in array.shape:
        raise UserError(
            f"an array {_told(array)}; allowed are uint8 (height, width, 1 to 4 channels) and "
            f"(height, width) of {', '.join(sorted(_GREY_TYPES))}"
        )
    if array.dtype == np.int16:  # Pillow has no such mode
        array = array.astype(np.int32)
    return Image.fromarray(np.ascontiguousarray(array))


def _told(image: np.ndarray | Tensor) -> str:
    return f"{str(image.dtype).removeprefix('torch.')} {tuple(image.shape)}"
