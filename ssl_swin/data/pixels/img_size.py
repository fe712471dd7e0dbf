"""How large images may be asked for."""

from ssl_swin.errors import UserError

MOST_PX = 16_384  # to a side: one image of float32 RGB takes 3 GB then


def require_img_size(setting: str, img_size: int | tuple[int, int]) -> None:
    """Refuse an image size, pixels, that has no pixel, or more than a machine can hold.

    The size is a side, or (rows, columns); `setting` is what a user calls it.

    Raises:
        UserError: If it is not from 1 to `MOST_PX`.
    """
    sides = (img_size,) if isinstance(img_size, int) else img_size
    if not 1 <= min(sides) <= max(sides) <= MOST_PX:
        raise UserError(f"{setting}={img_size} must be from 1 to {MOST_PX} pixels to a side")
