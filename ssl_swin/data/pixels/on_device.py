"""JPEGs decoded where the network runs: loader workers read bytes and draw crops, no more.

What the device's decoder refuses, and all that is no grey or RGB JPEG, is decoded on the CPU. A
file that is cut short may be decoded as far as it goes: a GPU's decoder need not tell, as libjpeg
does.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ssl_swin.data.pixels.decode import Turn
from ssl_swin.data.pixels.render import Plan
from ssl_swin.data.pixels.transforms import INTERPOLATION, Crop

KEYS = ("jpeg_bytes", "jpeg_table")


def pack(plans: Sequence[tuple[int, Plan]]) -> dict[str, Tensor]:
    """Put files and crops into tensors, which loader processes hand over as they are.

    Args:
        plans: Place in the batch, and what is to be done.

    Returns:
        `jpeg_bytes` uint8 (num_bytes,), the files end to end; `jpeg_table` int64 (num, 17): place,
        bytes, turn (3), box (4), size (2), window (4), interpolation, flip.
    """
    rows = []
    for place, plan in plans:
        assert plan.jpeg is not None
        assert plan.crop is not None
        crop = plan.crop
        how = list(INTERPOLATION).index(crop.interpolation)
        parts = (*plan.jpeg.turn, *crop.box, *crop.size, *crop.window, how, crop.flip)
        rows.append((place, len(plan.data), *parts))
    files = np.frombuffer(b"".join(plan.data for _, plan in plans), np.uint8).copy()
    arrays = files, np.array(rows, np.int64).reshape(-1, 17)
    return dict(zip(KEYS, map(torch.from_numpy, arrays), strict=True))


def fill(images: Tensor, jpeg_bytes: Tensor, jpeg_table: Tensor) -> list[int]:
    """Decode, turn, crop, resize and flip on the device of `images`.

    Args:
        images: uint8 (batch, in_chans, height, width); written into.
        jpeg_bytes: Of `pack`, on the CPU.
        jpeg_table: Of `pack`, on the CPU.

    Returns:
        The places whose file was refused.
    """
    rows = jpeg_table.tolist()
    files = list(jpeg_bytes.split([row[1] for row in rows]))
    refused = []
    for row, pixels in zip(rows, _decoded(files, images), strict=True):
        if pixels is None:
            refused.append(row[0])
            continue
        turn = Turn(*map(bool, row[2:5]))
        crop = Crop(
            (row[5], row[6], row[7], row[8]),
            (row[9], row[10]),
            (row[11], row[12], row[13], row[14]),
            list(INTERPOLATION)[row[15]],
            bool(row[16]),
        )
        images[row[0]] = _cut(_upright(pixels, turn), crop)
    return refused


def _decoded(files: list[Tensor], images: Tensor) -> list[Tensor | None]:
    """Decode all at once; if one is refused, one by one, to know which."""
    from torchvision.io import ImageReadMode, decode_jpeg  # seconds, which nobody else waits for

    mode = ImageReadMode.RGB if images.shape[1] == 3 else ImageReadMode.GRAY
    try:
        return list(decode_jpeg(files, mode, device=images.device)) if files else []
    except RuntimeError:
        if len(files) == 1:
            return [None]
        return [found for file in files for found in _decoded([file], images)]


def _upright(pixels: Tensor, turn: Turn) -> Tensor:
    pixels = pixels.transpose(1, 2) if turn.sideways else pixels
    axes = [axis for axis, mirror in ((2, turn.mirror_x), (1, turn.mirror_y)) if mirror]
    return pixels.flip(axes)


def _cut(pixels: Tensor, crop: Crop) -> Tensor:
    """Crop, resize and flip (chans, height, width); in floats, which GPUs resize."""
    left, top, right, bottom = crop.box
    found = pixels[None, :, top:bottom, left:right].float()
    found = interpolate(found, crop.size[::-1], mode=crop.interpolation, antialias=True)[0]
    left, top, right, bottom = crop.window
    found = found[:, top:bottom, left:right].round().clamp(0, 255).to(torch.uint8)
    return found.flip(2) if crop.flip else found
