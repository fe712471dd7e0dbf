"""JPEGs decoded where the network runs: loader processes only read bytes and draw crops.

What the device's decoder refuses, and all that is no grey or RGB JPEG, is decoded on the CPU. A
GPU's decoder may decode a file that is cut short as far as it goes; libjpeg would warn of it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ssl_swin.data.pixels.crop import INTERPOLATION, Crop
from ssl_swin.data.pixels.jpeg import Turn
from ssl_swin.data.pixels.render import EncodedSample

KEYS = ("jpeg_bytes", "jpeg_table")


def pack(samples: Sequence[tuple[int, EncodedSample]]) -> dict[str, Tensor]:
    """Put files and crops into tensors, which go from process to process without a copy.

    Each sample comes with its place in the batch, and has a JPEG and a crop.

    Returns:
        `jpeg_bytes` uint8 (num_bytes,), the files end to end; `jpeg_table` int64 (num, 17): place,
        bytes, turn (3), box (4), size (2), window (4), interpolation, flip.
    """
    rows = []
    for place, sample in samples:
        jpeg, crop = sample.jpeg, sample.crop
        assert jpeg is not None
        assert crop is not None
        how = list(INTERPOLATION).index(crop.interpolation)
        parts = (*jpeg.turn, *crop.box, *crop.size, *crop.window, how, crop.flip)
        rows.append((place, len(sample.data), *parts))
    files = np.frombuffer(b"".join(sample.data for _, sample in samples), np.uint8).copy()
    arrays = files, np.array(rows, np.int64).reshape(-1, 17)  # (num_bytes,), (num, 17)
    return dict(zip(KEYS, map(torch.from_numpy, arrays), strict=True))


def fill(images: Tensor, jpeg_bytes: Tensor, jpeg_table: Tensor) -> list[int]:
    """Decode, turn, crop, resize and flip what `pack` returned, on the device of `images`.

    They are uint8 (batch, in_chans, height, width) and written into; the rest is on the CPU.
    Returns the places whose file was refused.
    """
    rows, refused = jpeg_table.tolist(), []
    files = list(jpeg_bytes.split([row[1] for row in rows]))
    for row, pixels in zip(rows, _decoded(files, images), strict=True):
        if pixels is None:
            refused.append(row[0])
            continue
        how = list(INTERPOLATION)[row[15]], bool(row[16])
        crop = Crop(tuple(row[5:9]), tuple(row[9:11]), tuple(row[11:15]), *how)
        images[row[0]] = _cut(_upright(pixels, Turn(*map(bool, row[2:5]))), crop)
    return refused


def _decoded(files: list[Tensor], images: Tensor) -> list[Tensor | None]:
    """Decode all files at once; if one is refused, decode one by one to know which."""
    from torchvision.io import ImageReadMode, decode_jpeg  # late: seconds, and only this needs it

    mode = ImageReadMode.RGB if images.shape[1] == 3 else ImageReadMode.GRAY
    try:
        return list(decode_jpeg(files, mode, device=images.device)) if files else []
    except RuntimeError:
        if len(files) == 1:
            return [None]
        return [found for file in files for found in _decoded([file], images)]


def _upright(pixels: Tensor, turn: Turn) -> Tensor:
    """Turn (chans, height, width) upright."""
    pixels = pixels.transpose(1, 2) if turn.sideways else pixels
    axes = [axis for axis, mirror in ((2, turn.mirror_x), (1, turn.mirror_y)) if mirror]
    return pixels.flip(axes)


def _cut(pixels: Tensor, crop: Crop) -> Tensor:
    """Crop, resize and flip (chans, height, width), in floats, because GPUs resize no uint8."""
    left, top, right, bottom = crop.box
    # (chans, height, width) -> (1, chans, box_height, box_width)
    found = pixels[None, :, top:bottom, left:right].float()
    # -> (chans, resized_height, resized_width)
    found = interpolate(found, crop.size[::-1], mode=crop.interpolation, antialias=True)[0]
    # -> (chans, img_size, img_size)
    left, top, right, bottom = crop.window
    found = found[:, top:bottom, left:right].round().clamp(0, 255).to(torch.uint8)
    return found.flip(2) if crop.flip else found
