"""Move what is learned of places to another window or image size."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.interpolate import RectBivariateSpline
from torch import Tensor
from torch.nn import functional as F

from ssl_swin.errors import UserError
from ssl_swin.models.encoder import Encoder, HasPlaceEmbeddings, build_encoder
from ssl_swin.models.windows import Sides
from ssl_swin.pretrained.mismatch import PretrainedMismatch

_MIXING = ".attn.spatial_mlp.weight"  # (heads * places, places, 1)


class Resized(NamedTuple):
    """Weights that fit an encoder, and what was done for it."""

    state: dict[str, Tensor]
    """All of them; what is of the encoder's places already is passed on bit for bit."""
    names: tuple[str, ...]
    """Of those that were resized."""
    remarks: tuple[str, ...]
    """What was taken for granted, a line each."""


class _Fitted(NamedTuple):
    value: Tensor
    was: Sides | None  # of which window, or grid of tokens, it is taken to have been
    is_known: bool  # whether somebody says so


def resize_tables(
    state: Mapping[str, Tensor], encoder: Encoder, sizes: Mapping[str, Any] | None = None
) -> Resized:
    """Resize what weights know of places to the encoder that they are going to.

    Tables of relative positions fit its windows then, embeddings of absolute ones its image.

    Args:
        state: The weights, under the encoder's names.
        encoder: Where they go.
        sizes: Their `img_size` and `window_size`, as `architecture` has them, which say of what
            places they are. None if nobody says: what has as many places as the encoder's is taken
            to be of the same then, and all else of squares, and remarks say so.

    Raises:
        PretrainedMismatch: If a table has another number of heads, an MLP mixes other windows, or
            nobody says of what places something is, and it is of no square.
    """
    own, before = encoder.state_dict(), _with_sizes(encoder, sizes)
    tables = {} if before is None else before.position_tables()
    grids = {} if before is None else place_embeddings(before)
    _check_mixing(state, encoder, before)
    fitted, remarks = {}, []
    image = tuple(side // encoder.patch_size for side in encoder.img_size)
    for key, window in encoder.position_tables().items():
        if key in state:
            one = fitted[key] = _fit_table(key, state[key], own[key], tables.get(key), window)
            is_usual = one.was == window and window[0] == window[1] and window != image
            if not one.is_known and not is_usual:
                remarks.append(_taken("tables of positions", "windows", one.was))
    for key, grid in place_embeddings(encoder).items():
        if key in state:
            one = fitted[key] = _fit_embedding(state[key], own[key], grids.get(key), grid)
            if not one.is_known:
                remarks.append(_taken("embeddings of places", "images", one.was))
    new = {key: one.value for key, one in fitted.items()}
    names = tuple(key for key in state if key in new and new[key] is not state[key])
    return Resized(dict(state) | new, names, tuple(dict.fromkeys(remarks)))


def place_embeddings(encoder: Encoder) -> dict[str, Sides]:
    """Return an encoder's embeddings of absolute places, each with the sides of its grid."""
    return encoder.place_embeddings() if isinstance(encoder, HasPlaceEmbeddings) else {}


def resize_embedding(
    embedding: Float[Tensor, "1 old_tokens dim"], grid: Sides, old: Sides | None = None
) -> Float[Tensor, "1 new_tokens dim"]:
    """Resize an embedding of the places of an image to rows and columns of tokens.

    `old` are its rows and columns now; None for those of a square.

    Raises:
        PretrainedMismatch: If it is none of a square image, and nobody says of which.

    Source:
        SimMIM code, utils.py, ``remap_pretrained_keys_swin``: bicubic.
    """
    old = old or _square(embedding.shape[1])
    if old is None:
        raise PretrainedMismatch(
            f"an embedding of {embedding.shape[1]} places does not belong to a square image, and "
            "nothing says to which: build the encoder with the image size of the weights"
        )
    places = embedding.float().unflatten(1, old).permute(0, 3, 1, 2)
    new = F.interpolate(places, size=grid, mode="bicubic", align_corners=False)
    return new.flatten(2).transpose(1, 2).contiguous()


def resize_table(
    table: Float[Tensor, "old_positions heads"],
    window_size: int | Sides,
    old: Sides | None = None,
) -> Float[Tensor, "new_positions heads"]:
    """Resize one relative-position table by a bicubic spline over a geometric grid.

    The old positions are thought to stand at distances 1, 1 + q, 1 + q + q^2, ... from the centre,
    with q such that the outermost meets the new window's edge: dense where attention is local.
    Rows and columns each have a q of their own.

    A square window whose side is ``window_size`` tokens has ``(2 * window_size - 1) ** 2`` relative
    positions, a row for each; one of (rows, cols) has ``(2 * rows - 1) * (2 * cols - 1)``. `old`
    are rows and columns of the window that the table is of; None for a square one. The result is
    in float32.

    Raises:
        PretrainedMismatch: If the table was none of a square window, and nobody says of which.

    Source:
        SimMIM code, utils.py, ``remap_pretrained_keys_swin``. It calls
        ``scipy.interpolate.interp2d``, which SciPy has removed; the spline here replaces it.
    """
    before = _square(table.shape[0]) if old is None else _displacements(old)
    if before is None or before[0] % 2 == 0 or math.prod(before) != table.shape[0]:
        raise PretrainedMismatch(
            f"a position table of {table.shape[0]} rows does not belong to a square window, and "
            "nothing says to which; only (2 * window - 1) squared rows can be resized then"
        )
    after = (window_size, window_size) if isinstance(window_size, int) else window_size
    if before == _displacements(after):
        return table
    new = [np.arange(1 - side, side, dtype=np.float64) for side in after]
    places = [_positions(num, axis) for num, axis in zip(before, new, strict=True)]
    degrees = [min(3, len(axis) - 1) for axis in places]
    heads = []
    for head in table.float().T.reshape(-1, *before).cpu().numpy().astype(np.float64):
        head = np.broadcast_to(head, [len(axis) for axis in places])  # of one position many alike
        spline = RectBivariateSpline(*places, head, kx=degrees[0], ky=degrees[1])
        heads.append(spline(*new).ravel())
    resized = torch.from_numpy(np.stack(heads, axis=1)).to(torch.float32)
    return resized.contiguous().to(table.device)


def _with_sizes(encoder: Encoder, sizes: Mapping[str, Any] | None) -> Encoder | None:
    """Return an encoder like one, but of other images and windows, without memory for weights."""
    if sizes is None or not {"img_size", "window_size"} & sizes.keys():
        return None
    theirs = {name: sizes[name] for name in ("img_size", "window_size") if sizes.get(name)}
    own = encoder.architecture()
    if own == own | theirs:
        return encoder
    try:
        with torch.device("meta"):
            return build_encoder(**(own | theirs))
    except UserError:  # of another architecture, which the tensors' shapes will tell
        return None


def _fit_table(
    key: str, given: Tensor, own: Tensor, before: Sides | None, window: Sides
) -> _Fitted:
    num, num_heads = own.shape
    extra = num - math.prod(_displacements(window))  # rows of no displacement come last
    if given.ndim != 2 or given.shape[1] != num_heads:
        raise PretrainedMismatch(
            f"{key} has shape {tuple(given.shape)}, but its block has {num_heads} heads and "
            f"windows of {window[0]} x {window[1]}; tables can be resized from those of windows "
            "with the same number of heads"
        )
    cut = max(0, len(given) - extra)
    table, others = given[:cut], given[cut:]
    known = None if before is None else _displacements(before)
    sides = _as_many(cut, known, _displacements(window))
    was = None if sides is None else (sides[0] // 2 + 1, sides[1] // 2 + 1)
    if was == window:
        return _Fitted(given, window, sides == known)
    new = resize_table(table, window, was)
    return _Fitted(torch.cat((new, others.to(new.dtype))) if extra else new, was, sides == known)


def _fit_embedding(given: Tensor, own: Tensor, before: Sides | None, grid: Sides) -> _Fitted:
    extra = own.shape[1] - math.prod(grid)  # tokens of no place come first
    others, places = given[:, :extra], given[:, extra:]
    was = _as_many(places.shape[1], before, grid)
    if was == grid:
        return _Fitted(given, grid, was == before)
    new = resize_embedding(places, grid, was)
    return _Fitted(torch.cat((others.to(new.dtype), new), 1) if extra else new, was, was == before)


def _as_many(num: int, before: Sides | None, now: Sides) -> Sides | None:
    """Return the sides of `num` places: those that are known, of now, or of a square, if it is."""
    fitting = (one for one in (before, now) if one is not None and math.prod(one) == num)
    return next(fitting, _square(num))


def _square(num: int) -> Sides | None:
    side = math.isqrt(num)
    return (side, side) if side**2 == num else None


def _displacements(window: Sides) -> Sides:
    """Return how many rows and columns a table has for a window."""
    return 2 * window[0] - 1, 2 * window[1] - 1


def _taken(what: str, of: str, sides: Sides | None) -> str:
    rows, cols = sides or (0, 0)
    return f"{what} are taken to be of {of} of {rows} x {cols} tokens: nobody says"


def _check_mixing(state: Mapping[str, Tensor], encoder: Encoder, before: Encoder | None) -> None:
    """Refuse an MLP of other windows."""
    own = encoder.state_dict()
    for key in [key for key in state if key.endswith(_MIXING) and key in own]:
        here, there = (_window_of(one, key) for one in (encoder, before))
        was, now = state[key].shape[1], own[key].shape[1]
        if was != now or (there is not None and here != there):
            sides = f" ({there[0]} x {there[1]})" if there else ""
            raise PretrainedMismatch(
                f"{key} mixes windows of {was} places{sides}, and here they have {now} "
                f"({here[0]} x {here[1]}): an MLP is tied to its windows: give its window_size, "
                "and images of which no stage is smaller"
            )


def _window_of(encoder: Any, key: str) -> Any:
    """Return the window of the block that an MLP is in."""
    if encoder is None:
        return None
    return tuple(encoder.get_submodule(key.removesuffix(_MIXING)).window_size)


def _positions(num: int, axis: np.ndarray) -> np.ndarray:
    """Return where `num` old positions stand among the new ones."""
    if num == 1:
        return np.array([-1.0, 0.0, 1.0])
    return axis if num == len(axis) else _geometric_positions(num // 2, len(axis) // 2)


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
