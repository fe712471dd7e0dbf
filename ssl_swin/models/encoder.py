"""Stop "encode" on the route: what the rest of the house knows of an encoder, and which there are.

A new encoder is a file of its own with such a class, and a line in `ENCODERS`.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import timm
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ssl_swin.errors import UserError
from ssl_swin.models.lookup import look_up
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.models.swin_v2 import SwinV2Encoder
from ssl_swin.models.vit import ViTEncoder


class Encoder(Protocol):
    """An `nn.Module` that encodes images in which some tokens may be hidden.

    Its class takes `name`, `img_size`, `in_chans`, `drop_path_rate`, and sizes of its own; a size
    that is not given has a default. Names of parameters are those of its `named_parameters()`.
    What it may have besides, so that it can be compiled and checkpointed, is in `blocks.py`.
    """

    img_size: tuple[int, int]  # rows and columns of an image in pixels
    in_chans: int  # of an image
    patch_size: int  # side of a token in pixels; masks are given in these tokens
    stride: int  # pixels of the image per position of the output, in each axis
    num_features: int  # channels of the output
    num_layers: int  # that learn at different rates, without the stem and what follows the last

    def __call__(
        self,
        images: Float[Tensor, "batch chans height width"],
        token_mask: Bool[Tensor, "batch token_rows token_cols"] | None = None,
    ) -> Float[Tensor, "batch num_features out_rows out_cols"]:
        """Encode normalised images, not seeing hidden tokens; ``out_rows = height / stride``.

        The mask is True where hidden; None hides nothing.
        """

    def stages(
        self,
        images: Float[Tensor, "batch chans height width"],
        token_mask: Bool[Tensor, "batch token_rows token_cols"] | None = None,
    ) -> list[Float[Tensor, "batch _ _ _"]]:
        """Return the map after each stage, from fine to coarse, before the last norm."""

    def layer_of(self, parameter_name: str) -> int:
        """Return a parameter's layer, counted from the stem, which is 0.

        What follows the last layer is `num_layers + 1`, and learns at the rate of the head.
        """

    def no_decay(self) -> set[str]:
        """Return the parameters without weight decay, apart from vectors and biases."""

    def mask_parameters(self) -> set[str]:
        """Return the parameters that are used only where something is hidden.

        A classifier freezes them, and weights from elsewhere may lack them.
        """

    def position_tables(self) -> dict[str, tuple[int, int]]:
        """Return the tables of relative positions, each with the (rows, columns) of its window.

        A table has ``(2 * rows - 1) * (2 * columns - 1)`` rows and a column for each head; rows
        after these are of no displacement, such as a class token's. Weights of another window size
        have their tables resized, and such rows kept.
        """

    def architecture(self) -> dict[str, Any]:
        """Return the arguments of :func:`build_encoder` that build it again, as plain JSON."""

    # What is used of nn.Module:
    def modules(self) -> Iterator[nn.Module]: ...  # noqa: D102
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...  # noqa: D102
    def get_parameter(self, target: str) -> nn.Parameter: ...  # noqa: D102
    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...  # noqa: D102


@runtime_checkable
class HasPlaceEmbeddings(Protocol):
    """An encoder that learns something of each place of an image, and so depends on its size."""

    def place_embeddings(self) -> dict[str, tuple[int, int]]:
        """Return the parameters, (1, tokens, channels), each with (rows, columns) of tokens.

        Tokens before these are of no place, such as a class token.
        """


@runtime_checkable
class HasScoreParameters(Protocol):
    """An encoder whose attention scores depend on more parameters than tables of positions."""

    def score_parameters(self) -> set[str]:
        """Return them; they are in `no_decay`, and decay in pretraining as tables do."""


@runtime_checkable
class HasStages(Protocol):
    """An encoder that says which of its stages a parameter belongs to, for curves of each."""

    def stage_of(self, parameter_name: str) -> str:
        """Return "stem", "stage1" and so on."""


@runtime_checkable
class HasStarts(Protocol):
    """An encoder whose maps can be had from before the blocks of a stage, too."""

    def starts_and_stages(
        self,
        images: Float[Tensor, "batch chans height width"],
        token_mask: Bool[Tensor, "batch token_rows token_cols"] | None = None,
    ) -> tuple[list[Float[Tensor, "batch _ _ _"]], list[Float[Tensor, "batch _ _ _"]]]:
        """Return what the blocks of each stage begin with, and `stages`, of one pass.

        Of a stage both have one shape: patches are merged before its blocks.
        """


def part_of(encoder: Encoder, parameter_name: str) -> str:
    """Return the stage of a parameter; "stem", "layer1" and so on of an encoder without stages."""
    if isinstance(encoder, HasStages):
        return encoder.stage_of(parameter_name)
    layer = min(encoder.layer_of(parameter_name), encoder.num_layers)
    return f"layer{layer}" if layer else "stem"


@runtime_checkable
class EndsInNorm(Protocol):
    """An encoder whose output is made of its last stage's map alone, place by place."""

    def finish(
        self, last_map: Float[Tensor, "batch num_features out_rows out_cols"]
    ) -> Float[Tensor, "batch num_features out_rows out_cols"]:
        """Make the output of the last map of `stages`."""


@runtime_checkable
class LeavesOut(Protocol):
    """An encoder that can leave hidden tokens out, which spares what they would cost."""

    def visible_stages(
        self,
        images: Float[Tensor, "batch chans height width"],
        token_mask: Bool[Tensor, "token_rows token_cols"],
    ) -> tuple[list[Float[Tensor, "batch _ _ _"]], list[Float[Tensor, "batch _ _ _"]]]:
        """Return the starts of stages, if it `HasStarts`, and `stages`, of visible tokens alone.

        Maps are 0 where tokens are hidden. The mask, True where hidden, is that of all images; on
        the CPU, if nothing is to wait.
        """

    def require_leaving_out(self, mask_patch_size: int) -> None:
        """Refuse mask patches of so many pixels, or itself, with a `UserError` that says why."""


@runtime_checkable
class PoolsItself(Protocol):
    """An encoder that says how the vector of an image is made of its output; else by the mean."""

    head_scale: float  # of the weights with which a classifier's head starts

    def pool(
        self, output: Float[Tensor, "batch num_features out_rows out_cols"]
    ) -> Float[Tensor, "batch num_features"]:
        """Make the vectors."""

    def pool_parameters(self) -> set[str]:
        """Return the parameters that nothing but this uses; SimMIM freezes them."""


@runtime_checkable
class TakesRelatives(Protocol):
    """An encoder that can begin with weights of one that differs in some of its sizes."""

    free_sizes: tuple[str, ...]  # names in `architecture` of what may be another

    def adapted(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Return the weights as this encoder has them, and what is to be told of it."""


# Others of timm's have registers, rotary positions, norms or MLPs that this ViT has not.
_PLAIN_VITS = re.compile(r"(vit|deit)_(tiny|small|base|large|huge)_patch\d+_\d+")

ENCODERS: dict[str, Callable[..., Encoder]] = {
    **dict.fromkeys(timm.list_models("swin_*"), SwinEncoder),
    **dict.fromkeys(timm.list_models("swinv2_*", exclude_filters="swinv2_cr_*"), SwinV2Encoder),
    **dict.fromkeys(filter(_PLAIN_VITS.fullmatch, timm.list_models()), ViTEncoder),
    **dict.fromkeys(timm.list_models(["beit_*", "beitv2_*"]), ViTEncoder),
}
"""Name of an encoder -> its class."""
_LISTING = 'python -c "from ssl_swin.models.encoder import ENCODERS; print(*ENCODERS)"'


def build_encoder(
    name: str, img_size: int | tuple[int, int], in_chans: int, **sizes: Any
) -> Encoder:
    """Build an encoder by its name in `ENCODERS`; what follows a dot, timm's tag, is the class's.

    The image size is in pixels. Other sizes are arguments of the class; None is its default.

    Raises:
        UserError: If there is no such encoder, it has no such size, or its sizes do not fit.
    """
    kind = look_up(ENCODERS, "model.name", name.partition(".")[0], _LISTING)
    given = {key: value for key, value in sizes.items() if value is not None}
    given |= {"name": name, "img_size": img_size, "in_chans": in_chans}
    if kind not in (SwinEncoder, SwinV2Encoder) and given.get("implementation") == "timm":
        del given["implementation"]  # what runs are told that are older than the choice
    try:
        inspect.signature(kind).bind(**given)
    except TypeError as error:
        raise UserError(f"the encoder {name} {error}; leave it out") from error
    return kind(**given)


def pooled_stages(
    encoder: Encoder, images: Float[Tensor, "batch chans height width"]
) -> dict[str, Float[Tensor, "batch _"]]:
    """Return means over all positions, nothing hidden: `stage1` and so on; `last`, as `pooled`.

    Maps of stages are before the last norm. This takes one pass; two, if the encoder does not say
    how it ends.
    """
    maps = encoder.stages(images)
    output = encoder.finish(maps[-1]) if isinstance(encoder, EndsInNorm) else encoder(images)
    means = {f"stage{number}": one.mean((2, 3)) for number, one in enumerate(maps, 1)}
    return means | {"last": pooled(encoder, output)}


def pooled(
    encoder: Encoder, output: Float[Tensor, "batch num_features out_rows out_cols"]
) -> Float[Tensor, "batch num_features"]:
    """Return the vector of each image that a head is put on: the mean over all positions.

    An encoder that `PoolsItself` may do more.
    """
    return encoder.pool(output) if isinstance(encoder, PoolsItself) else output.mean((2, 3))


def family(name: str) -> str | None:
    """Return what an encoder of a name is, as "SwinV2"; None if there is none."""
    kind = ENCODERS.get(name.partition(".")[0])
    return None if kind is None else str(getattr(kind, "__name__", kind)).removesuffix("Encoder")


def free_sizes(name: str) -> tuple[str, ...]:
    """Return what of an encoder's sizes may be other than those of weights that it begins with."""
    return tuple(getattr(ENCODERS.get(name.partition(".")[0]), "free_sizes", ()))
