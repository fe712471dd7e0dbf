"""Which pixels of an image become the network's, and how they are cut out and resized."""

from math import ceil, exp, floor, log, sqrt
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from ssl_swin.data.pixels.decode import as_stored, sides
from ssl_swin.data.pixels.jpeg import Region
from ssl_swin.draw import Purpose, uniforms

INTERPOLATION = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_TURNS = (None, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
LARGEST_RESIZED_PX = 2**28 // 3  # as many as Pillow opens without a warning
Box = tuple[int, int, int, int]  # left, top, right and bottom, pixels


class Crop(NamedTuple):
    """Which part of an upright image becomes the network's, in pixels."""

    box: Box
    """What is cut out of the image."""
    size: tuple[int, int]
    """Width and height that the box is resized to."""
    window: Box
    """What is kept of the resized box."""
    interpolation: str
    """A key of `INTERPOLATION`."""
    flip: bool = False
    """Mirror left and right, when all else is done."""
    vflip: bool = False
    """Mirror up and down, after that."""
    quarter_turns: int = 0
    """Turn by so many right angles, counter-clockwise, last."""


def cut(image: Image.Image, crop: Crop) -> Image.Image:
    """Crop, resize and flip by Pillow: the reference."""
    if crop.box != (0, 0, *image.size):
        image = image.crop(crop.box)
    if crop.size != image.size:
        image = image.resize(crop.size, INTERPOLATION[crop.interpolation])
    if crop.window != (0, 0, *crop.size):
        image = image.crop(crop.window)
    if crop.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if crop.vflip:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    turn = _TURNS[crop.quarter_turns]
    return image if turn is None else image.transpose(turn)


def cut_region(region: Region, crop: Crop) -> np.ndarray:
    """Resize and flip the decoded pixels of `crop.box`, the fast way; the result may be a view.

    At full scale torch does it, in a third of Pillow's time; the rounding of its two passes differs
    by a level. At smaller scales Pillow does it, because only it takes a box between pixels.
    """
    pixels, box = region  # (box_height, box_width, chans), and perhaps some pixels around it
    if box != (0, 0, *pixels.shape[1::-1]):
        image = to_image(pixels).resize(crop.size, INTERPOLATION[crop.interpolation], box)
        pixels = np.array(image).reshape(*crop.size[::-1], -1)
    elif crop.size != pixels.shape[1::-1]:
        # (height, width, chans) -> (1, chans, height, width), channels last in memory: faster
        images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        images = interpolate(images, crop.size[::-1], mode=crop.interpolation, antialias=True)
        # (1, chans, height, width) -> (height, width, chans)
        pixels = images[0].permute(1, 2, 0).numpy()
    left, top, right, bottom = crop.window
    pixels = pixels[top:bottom, left:right]
    # Torch mirrors, because copying NumPy's mirrored view takes ten times as long.
    pixels = torch.from_numpy(pixels).flip(1).numpy() if crop.flip else pixels
    return turned(pixels, crop._replace(flip=False))


def cut_bands(pixels: np.ndarray, crop: Crop, nodata: float | None = None) -> np.ndarray:
    """Crop, resize and turn numbers (height, width, chans), of any type of `array_files.DTYPES`.

    What is not resized stays to the last bit. Else it is done in float32; whole numbers are rounded
    and stay in the range of their type. A pixel that the resizing makes of any that holds no number
    (`nodata`; NaN and infinity in fractions) holds none: it is `nodata`, or NaN.
    """
    left, top, right, bottom = crop.box
    part = pixels[top:bottom, left:right]
    if crop.size != part.shape[1::-1]:
        part = _resized(part, crop, nodata)
    left, top, right, bottom = crop.window
    return turned(part[top:bottom, left:right], crop)


def _resized(part: np.ndarray, crop: Crop, nodata: float | None) -> np.ndarray:
    numbers = torch.from_numpy(part.astype(np.float32)).permute(2, 0, 1)[None]
    none = None if nodata is None else as_stored(nodata, part.dtype)
    if none is not None:
        numbers[numbers == none] = torch.nan
    if part.dtype.kind == "f":
        numbers[numbers.isinf()] = torch.nan
    found = interpolate(numbers, crop.size[::-1], mode=crop.interpolation, antialias=True)
    values = found[0].permute(1, 2, 0).numpy()
    if none is not None:
        values = np.where(np.isnan(values), np.float32(none), values)
    if part.dtype.kind == "f":
        with np.errstate(over="ignore"):  # in float16: infinite, which holds no number
            return values.astype(part.dtype)
    limits = np.iinfo(part.dtype)
    return values.round().clip(limits.min, limits.max).astype(part.dtype)


def turned(pixels: np.ndarray, crop: Crop) -> np.ndarray:
    """Mirror and turn pixels (height, width, chans); a view."""
    pixels = pixels[:, ::-1] if crop.flip else pixels
    pixels = pixels[::-1] if crop.vflip else pixels
    return np.rot90(pixels, crop.quarter_turns) if crop.quarter_turns else pixels


def to_image(pixels: np.ndarray) -> Image.Image:
    """Return pixels, uint8 (height, width, 1 or 3), as a grey or RGB image."""
    return Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])


def crop_box(
    size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float], *key: int
) -> Box:
    """Draw the box of a random resized crop; the draw depends on `key`.

    `scale` is the range of the box's share of the image's area, `ratio` that of its width over its
    height. If ten tries do not fit, it is the largest box at the centre with a ratio in the range.

    Source:
        torchvision's RandomResizedCrop; the numbers come from `draw` instead of torch's generator.
    """
    width, height = size
    numbers = uniforms(40, Purpose.CROP, *key).reshape(10, 4)
    for area_u, ratio_u, left_u, top_u in numbers.tolist():
        area = width * height * (scale[0] + (scale[1] - scale[0]) * area_u)
        aspect = exp(log(ratio[0]) + (log(ratio[1]) - log(ratio[0])) * ratio_u)
        w, h = round(sqrt(area * aspect)), round(sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(left_u * (width - w + 1)), int(top_u * (height - h + 1))
            return left, top, left + w, top + h
    w = min(width, max(1, round(height * ratio[1])))
    h = min(height, max(1, round(width / ratio[0])))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def centre_crop(
    size: tuple[int, int],
    img_size: int | tuple[int, int],
    crop_pct: float,
    interpolation: str = "bicubic",
) -> Crop:
    """Resize an image until its short side is `img_size / crop_pct` pixels, and take the centre.

    Of a result with two sides, so that it covers both, each over `crop_pct`.

    Source:
        SimMIM fine-tuning: crop_pct 0.875 gives 256 for 224 pixels and 219 for 192. We differ where
        the whole resized image would not fit into memory: then only what is kept is resized.
    """
    rows, cols = sides(img_size)
    (width, height), kept = size, (cols, rows)
    scale = max(int(cols / crop_pct) / width, int(rows / crop_pct) / height)
    resized = max(cols, int(width * scale)), max(rows, int(height * scale))
    if rows == cols:  # in whole numbers first, which rounds as the official code does
        short = int(rows / crop_pct)
        resized = int(short * width / min(size)), int(short * height / min(size))
    left, top = (round((side - px) / 2) for side, px in zip(resized, kept, strict=True))
    right, bottom = left + cols, top + rows
    if resized[0] * resized[1] <= LARGEST_RESIZED_PX:
        return Crop((0, 0, width, height), resized, (left, top, right, bottom), interpolation)
    x, y = width / resized[0], height / resized[1]
    # Outwards: the whole pixels of the image that the window of the resized one lies in.
    left, top = max(0, floor(left * x)), max(0, floor(top * y))
    right, bottom = min(width, ceil(right * x)), min(height, ceil(bottom * y))
    return Crop((left, top, right, bottom), kept, (0, 0, *kept), interpolation)
