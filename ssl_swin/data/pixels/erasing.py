"""Which rectangle of an image is erased; it is drawn here and filled on the device."""

from math import exp, log, sqrt

from ssl_swin.draw import Purpose, uniforms

Box = tuple[int, int, int, int]
"""Top, left, height and width of a rectangle, pixels; all 0 for none."""


def erased_box(size: tuple[int, int], probability: float, seed: int, epoch: int, index: int) -> Box:
    """Draw what is erased of an image of this height and width, with this probability.

    Source:
        timm's RandomErasing, count 1, as SimMIM's fine-tuning uses it: area 0.02 to 1/3, aspect 0.3
        to 1/0.3, ten tries.
    """
    height, width = size
    numbers = uniforms(41, Purpose.ERASING, seed, epoch, index)
    tries = numbers[:40].reshape(10, 4) if numbers[40] < probability else ()
    for area_u, aspect_u, top_u, left_u in tries:
        area = (0.02 + (1 / 3 - 0.02) * area_u) * height * width
        aspect = exp(log(0.3) * (1 - 2 * aspect_u))
        h, w = round(sqrt(area * aspect)), round(sqrt(area / aspect))
        if 0 < h < height and 0 < w < width:
            return int(top_u * (height - h + 1)), int(left_u * (width - w + 1)), h, w
    return 0, 0, 0, 0
