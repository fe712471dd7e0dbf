"""Move what is learned of places to another window or image size."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from scipy.interpolate import RectBivariateSpline
from torch import Tensor
from torch.nn import functional as F

from ssl_swin.models.encoder import Encoder, HasPlaceEmbeddings
from ssl_swin.pretrained.mismatch import PretrainedMismatch

_MIXING = ".spatial_mlp.weight"  # (heads * places, places, 1)


def resize_tables(state: Mapping[str, Tensor], encoder: Encoder) -> dict[str, Tensor]:
    """Resize what weights know of places to the encoder that they are going to.

    Tables of relative positions fit its windows then, embeddings of absolute ones its image.

    Returns:
        All the weights; what already has the right length is passed on bit for bit.

    Raises:
        PretrainedMismatch: If a table has another number of heads, or belongs to a window that is
            not square, and the encoder's is another.
    """
    own, resized = encoder.state_dict(), dict(state)
    for key, (rows, cols) in encoder.position_tables().items():
        if key not in state or state[key].shape == own[key].shape:
            continue
        num, num_heads = own[key].shape
        extra = num - (2 * rows - 1) * (2 * cols - 1)  # rows of no displacement come last
        if state[key].ndim != 2 or state[key].shape[1] != num_heads:
            raise PretrainedMismatch(
                f"{key} has shape {tuple(state[key].shape)}, but its block has {num_heads} heads "
                f"and windows of {rows} x {cols}; tables can be resized from those of square "
                "windows with the same number of heads"
            )
        cut = max(0, len(state[key]) - extra)
        new, others = resize_table(state[key][:cut], (rows, cols)), state[key][cut:]
        resized[key] = torch.cat((new, others.to(new.dtype))) if extra else new
    for key, value in state.items():
        if key.endswith(_MIXING) and key in own and value.shape[1] != own[key].shape[1]:
            raise PretrainedMismatch(
                f"{key} mixes windows of {value.shape[1]} places, and here they have "
                f"{own[key].shape[1]}: an MLP is tied to its windows: give its window_size, and "
                "images of which no stage is smaller"
            )
    for key, grid in place_embeddings(encoder).items():
        if key in state and state[key].shape != own[key].shape:
            extra = own[key].shape[1] - grid[0] * grid[1]  # tokens of no place come first
            others, places = state[key][:, :extra], state[key][:, extra:]
            new = resize_embedding(places, grid)
            resized[key] = torch.cat((others.to(new.dtype), new), 1) if extra else new
    return resized


def place_embeddings(encoder: Encoder) -> dict[str, tuple[int, int]]:
    """Return an encoder's embeddings of absolute places, each with the sides of its grid."""
    return encoder.place_embeddings() if isinstance(encoder, HasPlaceEmbeddings) else {}


def resize_embedding(
    embedding: Float[Tensor, "1 old_tokens dim"], grid: tuple[int, int]
) -> Float[Tensor, "1 new_tokens dim"]:
    """Resize an embedding of the places of a square image to rows and columns of tokens.

    Raises:
        PretrainedMismatch: If it does not belong to a square image.

    Source:
        SimMIM code, utils.py, ``remap_pretrained_keys_swin``: bicubic.
    """
    side = math.isqrt(embedding.shape[1])
    if side**2 != embedding.shape[1]:
        raise PretrainedMismatch(
            f"an embedding of {embedding.shape[1]} places does not belong to a square image; only "
            "that of one can be resized: build the encoder with the image size of the weights"
        )
    old = embedding.float().unflatten(1, (side, side)).permute(0, 3, 1, 2)
    new = F.interpolate(old, size=grid, mode="bicubic", align_corners=False)
    return new.flatten(2).transpose(1, 2).contiguous()


def resize_table(
    table: Float[Tensor, "old_positions heads"], window_size: int | tuple[int, int]
) -> Float[Tensor, "new_positions heads"]:
    """Resize one relative-position table by a bicubic spline over a geometric grid.

    The old positions are thought to stand at distances 1, 1 + q, 1 + q + q^2, ... from the centre,
    with q such that the outermost meets the new window's edge: dense where attention is local.

    A square window whose side is ``window_size`` tokens has ``(2 * window_size - 1) ** 2`` relative
    positions, a row for each; one of (rows, cols) has ``(2 * rows - 1) * (2 * cols - 1)``. The
    result is in float32.

    Raises:
        PretrainedMismatch: If the table, which may have any side now, was not one of a square
            window.

    Source:
        SimMIM code, utils.py, ``remap_pretrained_keys_swin``. It calls
        ``scipy.interpolate.interp2d``, which SciPy has removed; the spline here replaces it.
    """
    side = math.isqrt(table.shape[0])
    if side**2 != table.shape[0] or side % 2 == 0:
        raise PretrainedMismatch(
            f"a position table of {table.shape[0]} rows does not belong to a square window; "
            "only (2 * window - 1) squared rows can be resized"
        )
    rows, cols = (window_size, window_size) if isinstance(window_size, int) else window_size
    if (side, side) == (2 * rows - 1, 2 * cols - 1):
        return table
    new = [np.arange(1 - length, length, dtype=np.float64) for length in (rows, cols)]
    old = [
        axis if side == len(axis) else _geometric_positions(side // 2, len(axis) // 2)
        for axis in new
    ]
    degree = min(3, side - 1)
    heads = []
    for head in table.float().T.reshape(-1, side, side).cpu().numpy().astype(np.float64):
        heads.append(RectBivariateSpline(*old, head, kx=degree, ky=degree)(*new).ravel())
    resized = torch.from_numpy(np.stack(heads, axis=1)).to(torch.float32)
    return resized.contiguous().to(table.device)


def _geometric_positions(num_old: int, reach: int) -> np.ndarray:
    """Place ``num_old`` positions on each side of 0 so that the last comes out near ``reach``."""
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        ratio = (low + high) / 2
        if (1 - ratio**num_old) / (1 - ratio) > reach:
            high = ratio
        else:
            low = ratio
    side = np.cumsum(ratio ** np.arange(num_old))
    return np.concatenate([-side[::-1], [0.0], side])
