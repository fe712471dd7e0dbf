"""Stop "encode" on the route: timm's Swins, of which runs of releases before 0.3 began with one.

It is what ours is held against, too. Its sizes are those of all Swins: what is not given is what
timm has under a name.
"""

from typing import Any

import timm
import torch
from torch import Tensor

from ssl_swin.errors import UserError
from ssl_swin.models.swin_choices import SwinSizes, Window, sides
from ssl_swin.models.windows import Sides


def build_timm_swin(name: str, sizes: SwinSizes, **others: Any) -> Any:
    """Build timm's model without a head.

    Raises:
        UserError: If a stage of the name has no value among those that are given per stage.
    """
    given: dict[str, Any] = dict(sizes)
    for key in ("window_size", "pretrained_window_sizes"):
        if not isinstance(given.get(key, 0), int):
            # One pair per stage: timm would take a bare (7, 7) for rows and columns of all windows.
            given[key] = tuple(map(sides, given[key]))
    try:
        return timm.create_model(name, num_classes=0, **given, **others)
    except (AssertionError, IndexError) as error:  # as timm says that a stage has no value
        told = {key: value for key, value in sizes.items() if not isinstance(value, int)}
        if not told:
            raise
        raise UserError(
            f"{name} has another number of stages than "
            f"{', '.join(f'{key}={value}' for key, value in told.items())}; give depths and "
            "num_heads one value per stage, and window_size one, or one per stage"
        ) from error


def nominal_window(backbone: Any, given: Window | None) -> Window:
    """Return the windows that timm's model was built for, where stages may be smaller."""
    if given is not None:
        return given
    # timm keeps what each stage uses, which is less than the window where the stage is smaller.
    blocks = [stage.blocks[0] for stage in backbone.layers]
    used = [sides(tuple(block.window_size)) for block in blocks]
    largest = max(map(max, used))
    grids = [sides(tuple(block.input_resolution)) for block in blocks]
    if used == [(min(largest, rows), min(largest, cols)) for rows, cols in grids]:
        return largest
    return tuple(used) if any(a != b for a, b in used) else tuple(a for a, _ in used)


def pretrained_windows(backbone: Any) -> tuple[Sides, ...]:
    """Return the windows by which timm's Swin V2 scales the coordinates of each stage."""
    found = []
    for stage in backbone.layers:
        attn = stage.blocks[0].attn
        rows, cols = attn.pretrained_window_size
        found.append((int(rows), int(cols)) if rows > 0 else attn.window_size)
    return tuple(found)


def features(
    backbone: Any, images: Tensor, token_mask: Tensor | None, mask_token: Tensor
) -> Tensor:
    """Do with timm's model what `Swin` does when it is called."""
    x = backbone.layers(_embed(backbone, images, token_mask, mask_token))
    return backbone.norm(x)  # (batch, out_rows, out_cols, num_features)


def maps(
    backbone: Any, images: Tensor, token_mask: Tensor | None, mask_token: Tensor
) -> list[Tensor]:
    """Do with timm's model what `Swin.maps` does."""
    x, found = _embed(backbone, images, token_mask, mask_token), []
    for stage in backbone.layers:
        x = stage(x)  # (batch, rows, cols, channels)
        found.append(x)
    return found


def _embed(backbone: Any, images: Tensor, token_mask: Tensor | None, mask_token: Tensor) -> Tensor:
    x = backbone.patch_embed(images)  # (batch, token_rows, token_cols, embed_dim)
    if token_mask is None:
        return x
    return torch.where(token_mask.unsqueeze(-1), mask_token.to(x.dtype), x)
