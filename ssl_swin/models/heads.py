"""What is predicted, and from which stage of an encoder: one head, or several."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ssl_swin.errors import UserError
from ssl_swin.models.decoder import DecoderShape, PooledDecoder, linear
from ssl_swin.models.encoder import Encoder, EndsInNorm, HasStarts, LeavesOut
from ssl_swin.models.losses import Loss, cosine, l1
from ssl_swin.models.masking import to_cells
from ssl_swin.models.targets import Target


class Head(NamedTuple):
    """One thing that is predicted: what, how an error counts, and from which stage."""

    target: Target
    loss: Loss = l1
    stage: int | None = None
    """Counted from 1, whose map it is; None for the encoder's output."""
    weight: float = 1.0
    """What its loss is multiplied with, before those of all heads are added up."""
    name: str = ""
    """What its loss is called where there are several."""
    at: Literal["start", "end"] = "end"
    """Where in the stage: before its blocks, or after them."""
    decoder: Callable[[DecoderShape], nn.Module] = linear
    """What makes that which predicts, of `DECODERS`."""
    everywhere: bool = False
    """Whether its loss is taken where nothing is hidden, too."""

    def counted(
        self, mask: Bool[Tensor, "batch rows cols"], mask_patch_size: int
    ) -> Bool[Tensor, "batch target_rows target_cols"]:
        """Say which positions of the target are in the loss; of a pooled one it is the only one."""
        if self.target.pooled:
            return mask.new_ones(len(mask), 1, 1)
        mask = torch.ones_like(mask) if self.everywhere else mask
        return to_cells(mask, mask_patch_size, self.target.cell_size)

    def num_counted(self, num_hidden: Any, num_patches: int, mask_patch_size: int) -> Any:
        """Count these positions of an image, of so many mask patches."""
        if self.target.pooled:
            return 1
        cells = (mask_patch_size // self.target.cell_size) ** 2
        return cells * (num_patches if self.everywhere else num_hidden)


class StageShape(NamedTuple):
    """What the map of a stage is."""

    num_features: int
    """Channels."""
    stride: int
    """Pixels of the image to a side of a position."""


def output_shape(encoder: Encoder) -> StageShape:
    """Return what an encoder's output is."""
    return StageShape(encoder.num_features, encoder.stride)


@torch.no_grad()
def stage_shapes(encoder: Encoder) -> list[StageShape]:
    """Return what the map of each stage is, from fine to coarse; nothing is computed for it."""
    there, image = _on_meta(encoder)
    maps = there.stages(image)
    return [StageShape(one.shape[1], encoder.img_size[0] // one.shape[2]) for one in maps]


def taps(
    encoder: Encoder,
    heads: Sequence[Head],
    images: Float[Tensor, "batch chans height width"],
    token_mask: Bool[Tensor, "*batch token_rows token_cols"] | None = None,
) -> list[Float[Tensor, "batch _ _ _"]]:
    """Return the map that each head sees, of one pass; at the end of the last stage the output.

    A mask without a batch is that of all images, and what it hides is left out.
    """
    starts: list[Tensor] = []
    if token_mask is not None and token_mask.ndim == 2:
        assert isinstance(encoder, LeavesOut)
        starts, maps = encoder.visible_stages(images, token_mask)
    elif any(head.at == "start" for head in heads):
        assert isinstance(encoder, HasStarts)
        starts, maps = encoder.starts_and_stages(images, token_mask)
    else:
        maps = encoder.stages(images, token_mask)
    assert isinstance(encoder, EndsInNorm)
    maps[-1] = encoder.finish(maps[-1])
    stages = [len(maps) if head.stage is None else head.stage for head in heads]
    return [
        (starts if head.at == "start" else maps)[stage - 1]
        for head, stage in zip(heads, stages, strict=True)
    ]


def make_decoders(
    encoder: Encoder, heads: Sequence[Head], mask_patch_size: int, leaves_out: bool = False
) -> list[nn.Module]:
    """Make what predicts each head's target from its stage, and see that all of it fits.

    If the encoder `leaves_out` hidden tokens, what predicts must know of hidden positions.

    Raises:
        UserError: If there is no such stage, none is the last, or grids or numbers do not fit.
    """
    several = any(one.stage is not None or one.at == "start" for one in heads)
    shapes = stage_shapes(encoder) if several else []
    if several:
        _check_stages(encoder, heads, len(shapes))
    made: list[nn.Module] = []
    for head in heads:
        norms = several and not _is_last(head, len(shapes))
        shape = shapes[(head.stage or 0) - 1] if norms else output_shape(encoder)
        num_chans = head.target.num_chans(encoder.in_chans)
        _check_loss(head, num_chans)
        if head.target.pooled:
            made.append(PooledDecoder(shape.num_features, num_chans))
            continue
        _check_grids(head, shape, mask_patch_size)
        upscale = shape.stride // head.target.cell_size
        rows, cols = (side // shape.stride for side in encoder.img_size)
        sizes = DecoderShape(
            shape.num_features, upscale, num_chans, norms, (rows, cols), leaves_out
        )
        made.append(head.decoder(sizes))
    return made


def _check_stages(encoder: Encoder, heads: Sequence[Head], num_stages: int) -> None:
    for number, head in enumerate(heads):
        if head.stage is not None and not 1 <= head.stage <= num_stages:
            raise UserError(
                f"heads[{number}].stage={head.stage}, and the encoder has {num_stages}; give 1 to "
                f"{num_stages}"
            )
    if not any(_is_last(head, num_stages) for head in heads):
        raise UserError(
            f"no head is at the end of stage {num_stages}, the last, and what comes after the "
            "others would learn nothing; give one there"
        )
    if not isinstance(encoder, EndsInNorm):
        raise UserError(
            f"heads at several stages: the encoder {encoder.architecture()['name']} has no method "
            "`finish`; leave them out"
        )
    if any(head.at == "start" for head in heads):
        _check_starts(encoder)
    names = [head.name for head in heads]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"two heads are {min(twice)}; leave one out, and give the other its weight")


@torch.no_grad()
def _check_starts(encoder: Encoder) -> None:
    if not isinstance(encoder, HasStarts):
        raise UserError(
            f"a head at the start of a stage: the encoder {encoder.architecture()['name']} has no "
            "method `starts_and_stages`; leave out `at`"
        )
    there, image = _on_meta(encoder)
    there.starts_and_stages(image)  # may refuse


def _is_last(head: Head, num_stages: int) -> bool:
    """Return whether a head sees the encoder's output."""
    return head.stage in (None, num_stages) and head.at == "end"


def _on_meta(encoder: Encoder) -> tuple[Any, Tensor]:
    """Return a copy that computes nothing, and an image for it."""
    there: nn.Module = copy.deepcopy(encoder).to("meta").eval()  # type: ignore[attr-defined]
    return there, torch.empty(1, encoder.in_chans, *encoder.img_size, device="meta")


def _check_loss(head: Head, num_chans: int) -> None:
    if head.loss is cosine and num_chans == 1:
        raise UserError(
            "the loss cosine of a target that has one number at a position: it has no direction to "
            "learn; choose another loss, or a target of several numbers"
        )


def _check_grids(head: Head, shape: StageShape, mask_patch_size: int) -> None:
    cell = head.target.cell_size
    where = "the encoder's output" if head.stage is None else f"stage {head.stage}"
    if shape.stride % cell:
        raise UserError(
            f"a target of cells of {cell} pixels, and a position of {where} has {shape.stride}; "
            "choose cells that divide it"
        )
    if mask_patch_size % cell:
        raise UserError(
            f"a target of cells of {cell} pixels, and mask_patch_size={mask_patch_size} hides "
            "parts of them; choose smaller cells, or mask patches of a multiple"
        )
