"""Frozen networks of the house and of timm, alike: normalised images -> a vector, or their stages.

A position is a place of a map or a token; class tokens and registers are none.
"""

from math import isqrt
from typing import Any, Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssl_swin.errors import UserError
from ssl_swin.models.encoder import Encoder, HasStarts, pooled

Place = Literal["start", "end"]
"""Of a stage: before its blocks, after patches are merged, or after them."""
_NO_START = (
    "stage {} of this network gives no map from before its blocks, as stages of a Swin do after "
    "patches are merged; give another stage, or its end"
)


class Network(Protocol):
    """An `nn.Module` that gives vectors, and says what of it lies where."""

    body: Any
    """A module; its modules are layers by their names."""
    num_prefix_tokens: int
    """Tokens before those of positions, in what its modules give."""

    def __call__(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> Float[Tensor, "batch num_features"]:
        """Return the mean over all positions of the last stage, after the last norm."""

    def pooled(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> Float[Tensor, "batch num_features"]:
        """Return what the network's own head is put on, such as the class token of many ViTs."""

    def stages(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> list[Float[Tensor, "batch _"]]:
        """Return the mean over the positions of each stage, from fine to coarse, without norm."""

    def maps(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> Float[Tensor, "batch num_features rows cols"]:
        """Return the positions of the last stage, after the last norm."""

    def stage_map(
        self, images: Float[Tensor, "batch chans height width"], stage: int, at: Place
    ) -> Float[Tensor, "batch channels rows cols"]:
        """Return the positions of a stage, counted from 1, without norm.

        Raises:
            UserError: If there is no such stage, or it gives no such map.
        """


class HouseNetwork(nn.Module):
    """An encoder of `ENCODERS`."""

    num_prefix_tokens = 0

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.body: Any = encoder

    def forward(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> Float[Tensor, "batch num_features"]:
        """See `Network`."""
        return pooled(self.body, self.body(images))

    def pooled(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> Float[Tensor, "batch num_features"]:
        """Return the same: a classifier's head is put on the mean."""
        return self(images)

    def stages(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> list[Float[Tensor, "batch _"]]:
        """See `Network`."""
        return [one.mean(dim=(2, 3)) for one in self.body.stages(images)]

    def maps(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> Float[Tensor, "batch num_features rows cols"]:
        """See `Network`."""
        return self.body(images)

    def stage_map(
        self, images: Float[Tensor, "batch chans height width"], stage: int, at: Place
    ) -> Float[Tensor, "batch channels rows cols"]:
        """See `Network`."""
        if at == "end":
            return _of_stage(self.body.stages(images), stage)
        if not isinstance(self.body, HasStarts):
            raise UserError(_NO_START.format(stage))
        return _of_stage(self.body.starts_and_stages(images)[0], stage)


class TimmNetwork(nn.Module):
    """A model of timm, without head. Its stages are what timm lists as `feature_info`.

    Of a ViT these are the blocks, of a ResNet the stem is the first. `architecture` is its name
    without the tag of weights.
    """

    def __init__(self, model: nn.Module, architecture: str = "") -> None:
        super().__init__()
        self.body: Any = model
        self.architecture = architecture
        self.num_prefix_tokens = int(getattr(model, "num_prefix_tokens", 0))

    def forward(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> Float[Tensor, "batch num_features"]:
        """See `Network`."""
        last = self.body.forward_features(images)
        return mean_of_positions(last, len(images), self.num_prefix_tokens, "the last stage")

    def pooled(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> Float[Tensor, "batch num_features"]:
        """See `Network`."""
        return self.body(images)

    def stages(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> list[Float[Tensor, "batch _"]]:
        """See `Network`."""
        outputs = outputs_of(self.body, self._stages(), images)
        return [
            mean_of_positions(one, len(images), self.num_prefix_tokens, f"stage {number}")
            for number, one in enumerate(outputs, 1)
        ]

    def maps(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> Float[Tensor, "batch num_features rows cols"]:
        """See `Network`."""
        last = self.body.forward_features(images)
        return as_map(last, len(images), self.num_prefix_tokens, "the last stage")

    def stage_map(
        self, images: Float[Tensor, "batch chans height width"], stage: int, at: Place
    ) -> Float[Tensor, "batch channels rows cols"]:
        """See `Network`; the start of a stage is what its module `downsample` makes."""
        name = _of_stage(self._stages(), stage)
        if at == "start":
            name = f"{name}.downsample"
            there = dict(self.body.named_modules())
            if isinstance(there.get(name, nn.Identity()), nn.Identity):
                raise UserError(_NO_START.format(stage))
        (output,) = outputs_of(self.body, [name], images)
        return as_map(output, len(images), self.num_prefix_tokens, f"stage {stage}")

    def _stages(self) -> list[str]:
        """Return the modules of the stages."""
        names = [one["module"] for one in getattr(self.body, "feature_info", [])]
        there = dict(self.body.named_modules())
        return [name for name in names if name in there]


def _of_stage(found: list[Any], stage: int) -> Any:
    if not 1 <= stage <= len(found):
        raise UserError(f"stage {stage} of a network that has {len(found)}; give 1 to {len(found)}")
    return found[stage - 1]


def outputs_of(body: nn.Module, names: list[str], images: Tensor) -> list[Any]:
    """Return what the modules of these names give while a network computes the images.

    Raises:
        UserError: If one of them is not used.
    """
    found: dict[str, Any] = {}

    def keep(name: str) -> Any:
        return lambda module, given, output: found.update({name: output})  # noqa: ARG005

    hooks = [body.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        body(images)
    finally:
        for hook in hooks:
            hook.remove()
    if unused := [name for name in names if name not in found]:
        raise UserError(f"layer={unused[0]} is not used when an image is computed; give another")
    return [found[name] for name in names]


def mean_of_positions(
    output: Any, num_images: int, num_prefix_tokens: int, where: str
) -> Float[Tensor, "batch channels"]:
    """Return the mean over the positions of what a module gives.

    Args:
        output: Vectors (batch, channels), tokens (batch, tokens, channels), or square maps with
            their channels first or last.
        num_images: The batch.
        num_prefix_tokens: Tokens of each image that stand for no position; they come first.
        where: How a message calls the module.

    Raises:
        UserError: If it is none of these.
    """
    shape = tuple(output.shape) if isinstance(output, Tensor) else ()
    if not shape:
        raise UserError(f"{where} gives a {type(output).__name__} and no tensor; give another")
    if shape[0] == num_images and torch.is_floating_point(output):
        if len(shape) == 2:
            return output
        if len(shape) == 3:
            prefix = num_prefix_tokens if shape[1] > num_prefix_tokens else 0
            return output[:, prefix:].mean(dim=1)
        if len(shape) == 4 and (shape[1] == shape[2]) != (shape[2] == shape[3]):
            return output.mean(dim=(1, 2) if shape[1] == shape[2] else (2, 3))
    raise UserError(
        f"{where} gives {shape} for {num_images} images, while features are made of (images, "
        "channels), (images, tokens, channels) or maps that are square: give another, such as the "
        "block around it"
    )


def as_map(
    output: Any, num_images: int, num_prefix_tokens: int, where: str
) -> Float[Tensor, "batch channels rows cols"]:
    """Return what a module gives as a map, its channels first; the arguments are as above.

    Raises:
        UserError: If it is neither a square map nor the tokens of one.
    """
    shape = tuple(output.shape) if isinstance(output, Tensor) else ()
    if shape[:1] == (num_images,) and torch.is_floating_point(output):
        if len(shape) == 4 and (shape[1] == shape[2]) != (shape[2] == shape[3]):
            return output.permute(0, 3, 1, 2) if shape[1] == shape[2] else output
        if len(shape) == 3 and (side := isqrt(shape[1] - num_prefix_tokens)) > 0:
            tokens = output[:, num_prefix_tokens:]  # (batch, tokens, channels)
            if side**2 == tokens.shape[1]:
                return tokens.transpose(1, 2).unflatten(2, (side, side))
    raise UserError(
        f"{where} gives {shape} for {num_images} images, which is no square map; give a network "
        "whose features lie on one"
    )
