"""Stop "mask" on the route: what an encoder gets in the place of what is hidden."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ssl_swin.errors import UserError
from ssl_swin.models.encoder import Encoder, LeavesOut
from ssl_swin.models.masking import to_pixels

Token = Literal["embedded", "pixels", "none", "unused"]
"""The encoder's learned token; a learned colour, painted on the pixels; nothing; or what was there:
nothing is hidden at all."""


def painted(
    images: Float[Tensor, "batch chans height width"],
    mask: Bool[Tensor, "batch rows cols"],
    mask_patch_size: int,
    colour: Float[Tensor, " chans"],
) -> Float[Tensor, "batch chans height width"]:
    """Return images whose hidden pixels have a colour, in normalised numbers.

    Source:
        FastMIM (arXiv:2212.06593).
    """
    hidden = to_pixels(mask, mask_patch_size).unsqueeze(1)
    return torch.where(hidden, colour.to(images.dtype).view(-1, 1, 1), images)


def the_one_of(mask: Bool[Tensor, "batch rows cols"]) -> Bool[Tensor, "1 rows cols"]:
    """Return the mask of all images, on the CPU; one that is there is not waited for.

    Raises:
        ValueError: If images have different masks.
    """
    masks = mask.cpu()
    if (masks != masks[:1]).any():
        raise ValueError("hidden tokens are left out, so all images must have one mask")
    return masks[:1]


def require_leaving_out(encoder: Encoder, mask_patch_size: int) -> None:
    """Refuse an encoder that cannot leave hidden tokens out.

    Raises:
        UserError: If it has no way to, or not with mask patches of so many pixels.
    """
    if not isinstance(encoder, LeavesOut):
        raise UserError(
            f"mask.token=none: the encoder {encoder.architecture()['name']} has no method "
            "`visible_stages`; choose another mask.token"
        )
    encoder.require_leaving_out(mask_patch_size)
