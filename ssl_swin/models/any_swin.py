"""Stop "encode" on the route: a Swin of either version with a mask token, as the house knows it."""

import re
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ssl_swin.errors import UserError
from ssl_swin.models import timm_swin
from ssl_swin.models.patches import check_images
from ssl_swin.models.swin_backbone import Swin, SwinShape
from ssl_swin.models.swin_choices import sides, sizes_among, switched, switches_among

_BLOCK = re.compile(r"backbone\.layers\.(\d+)\.blocks\.(\d+)\.")
_DOWNSAMPLE = re.compile(r"backbone\.layers\.(\d+)\.downsample\.")
_STAGE = re.compile(r"backbone\.layers\.(\d+)\.")
_PLACES = "backbone.absolute_pos_embed"


class AnySwin(nn.Module):
    """What the Swins of both versions share as an `Encoder`; `SwinEncoder` and `SwinV2Encoder` are.

    One learned token replaces hidden tokens of the first stage. Every token, hidden or not, goes
    through `backbone`, whose weights have timm's names and shapes. Its layers are the blocks of all
    stages. A stage not larger than the window is one window, without shift; a stage that the window
    does not divide is padded, as timm does (the official code cannot run such sizes).

    Source:
        Swin (arXiv:2103.14030); the mask token from SimMIM, section 3.1 (arXiv:2111.09886), and its
        code, models/simmim.py.
    """

    def __init__(
        self,
        name: str,
        img_size: int | tuple[int, int],
        in_chans: int,
        drop_path_rate: float,
        choices: Mapping[str, Any],
        is_v2: bool,
    ) -> None:
        """Build a Swin by timm's name and check that its sizes fit.

        Raises:
            UserError: If the sizes do not fit each other, or one of them is no size of a Swin.
        """
        super().__init__()
        rows, cols = sides(img_size)
        self.name, self.img_size, self.in_chans = name, (int(rows), int(cols)), in_chans
        sizes, self.switches = sizes_among(choices, is_v2), switches_among(choices)
        shape = {"img_size": self.img_size, "in_chans": in_chans, "drop_path_rate": drop_path_rate}
        is_timms = choices.get("implementation") == "timm"
        with nullcontext() if is_timms else torch.device("meta"):  # only its sizes are wanted
            theirs = timm_swin.build_timm_swin(name, sizes, **shape)
        self.window_size = timm_swin.nominal_window(theirs, sizes.get("window_size"))
        self.patch_size = int(theirs.patch_embed.patch_size[0])
        self.num_features = int(theirs.num_features)
        self.depths = tuple(len(stage.blocks) for stage in theirs.layers)
        self.num_heads = tuple(stage.blocks[0].attn.num_heads for stage in theirs.layers)
        self.num_layers = sum(self.depths)
        self.stride = self.patch_size * 2 ** (len(self.depths) - 1)
        self.embed_dim = int(theirs.embed_dim)
        self._check_sizes()
        self._pretrained = timm_swin.pretrained_windows(theirs) if is_v2 else None
        self.backbone: Any = theirs if is_timms else self._build(drop_path_rate)
        self._features: Any = timm_swin.features if is_timms else Swin.__call__
        self._maps: Any = timm_swin.maps if is_timms else Swin.maps
        token = torch.empty(1, 1, self.embed_dim)
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(token, std=0.02))

    def forward(
        self,
        images: Float[Tensor, "batch chans height width"],
        token_mask: Bool[Tensor, "batch token_rows token_cols"] | None = None,
    ) -> Float[Tensor, "batch num_features out_rows out_cols"]:
        """Encode images, not seeing the hidden tokens.

        Raises:
            ValueError: If the images have another size than the encoder was built for.
        """
        check_images(images, self.in_chans, self.img_size)
        x = self._features(self.backbone, images, token_mask, self.mask_token)
        return x.permute(0, 3, 1, 2)  # (batch, num_features, out_rows, out_cols)

    def stages(
        self,
        images: Float[Tensor, "batch chans height width"],
        token_mask: Bool[Tensor, "batch token_rows token_cols"] | None = None,
    ) -> list[Float[Tensor, "batch _ _ _"]]:
        """Return the map after each stage, as timm's `forward_intermediates` does.

        The i-th has ``embed_dim * 2**i`` channels and a position for ``patch_size * 2**i`` pixels.
        """
        check_images(images, self.in_chans, self.img_size)
        maps = self._maps(self.backbone, images, token_mask, self.mask_token)
        return [one.permute(0, 3, 1, 2) for one in maps]

    def starts_and_stages(
        self,
        images: Float[Tensor, "batch chans height width"],
        token_mask: Bool[Tensor, "batch token_rows token_cols"] | None = None,
    ) -> tuple[list[Float[Tensor, "batch _ _ _"]], list[Float[Tensor, "batch _ _ _"]]]:
        """Return what the blocks of each stage begin with, and `stages`, which has the same shapes.

        The first is the embedded patches, the others are what patch merging makes.

        Raises:
            UserError: If the implementation is timm.
        """
        if not isinstance(self.backbone, Swin):
            raise UserError(
                "model.implementation=timm gives no map from before the blocks of a stage; leave "
                "out one of the two"
            )
        check_images(images, self.in_chans, self.img_size)
        both = self.backbone.starts_and_maps(images, token_mask, self.mask_token)
        starts, ends = ([one.permute(0, 3, 1, 2) for one in maps] for maps in both)
        return starts, ends

    def visible_stages(
        self,
        images: Float[Tensor, "batch chans height width"],
        token_mask: Bool[Tensor, "token_rows token_cols"],
    ) -> tuple[list[Float[Tensor, "batch _ _ _"]], list[Float[Tensor, "batch _ _ _"]]]:
        """Return `starts_and_stages` as if hidden tokens were not there; 0 where they are.

        A visible token sees what is visible in its window, and nothing else is computed.
        """
        check_images(images, self.in_chans, self.img_size)
        both = self.backbone.visible_maps(images, token_mask)
        starts, ends = ([one.permute(0, 3, 1, 2) for one in maps] for maps in both)
        return starts, ends

    def require_leaving_out(self, mask_patch_size: int) -> None:
        """Refuse where hidden tokens cannot be left out; a mask patch has so many pixels to a side.

        Raises:
            UserError: If tokens of several mask patches are merged, windows have places beyond the
                image, or tokens are mixed by an MLP or computed by timm.
        """
        attends = self.switches.get("mixer", "attention") == "attention"
        if not isinstance(self.backbone, Swin) or not attends:
            raise UserError(
                "hidden tokens can be left out of attention of ours alone; leave out model.mixer "
                "and model.implementation, or choose another mask.token"
            )
        if mask_patch_size % self.stride:
            raise UserError(
                f"mask_patch_size={mask_patch_size} is no multiple of {self.stride}, the stride of "
                "the encoder, and tokens that are merged would be hidden in part; choose a "
                "multiple, or another mask.token"
            )
        if not self.backbone.fills_windows():
            raise UserError(
                f"windows of {self.window_size} tokens have places beyond the image, which count "
                "as seen; choose a window_size that divides every stage, or another mask.token"
            )

    def finish(
        self, last_map: Float[Tensor, "batch num_features out_rows out_cols"]
    ) -> Float[Tensor, "batch num_features out_rows out_cols"]:
        """Take the norm of the last stage's map: that is the output."""
        return self.backbone.norm(last_map.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def blocks(self) -> list[nn.Module]:
        """Return the blocks of all stages."""
        return [block for stage in self.backbone.layers for block in stage.blocks]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep the input of each block alone; the backward computes it again, as it was drawn."""
        self.backbone.set_grad_checkpointing(enable)

    def layer_of(self, parameter_name: str) -> int:
        """Count a parameter's layer from the image: 0 for the stem, then one for each block.

        Down-sampling has the layer of the last block before it.

        Raises:
            ValueError: If there is no such parameter.

        Source:
            SimMIM code, optimizer.py, ``get_swin_layer``. There down-sampling is named after the
            stage it leaves, in timm after the stage it enters; the layer is the same. An embedding
            of absolute positions, which no official recipe has, is the stem's, as in a ViT; there
            it has the layer of the head, for its name is not among those that are looked for.
        """
        if match := _BLOCK.match(parameter_name):
            return sum(self.depths[: int(match[1])]) + int(match[2]) + 1
        if match := _DOWNSAMPLE.match(parameter_name):
            return sum(self.depths[: int(match[1])])
        if parameter_name.startswith(("mask_token", "backbone.patch_embed.", _PLACES)):
            return 0
        if parameter_name.startswith("backbone.norm."):
            return self.num_layers + 1
        raise ValueError(f"{parameter_name!r} belongs to no known layer of a Swin")

    def stage_of(self, parameter_name: str) -> str:
        """Return "stem", or "stage1" and so on; the last norm is the last stage's."""
        if match := _STAGE.match(parameter_name):
            return f"stage{int(match[1]) + 1}"
        is_last = self.layer_of(parameter_name) > self.num_layers
        return f"stage{len(self.depths)}" if is_last else "stem"

    def mask_parameters(self) -> set[str]:
        """Return the mask token, which whole images never use."""
        return {"mask_token"}

    def place_embeddings(self) -> dict[str, tuple[int, int]]:
        """Return the embedding of absolute positions, if there is one, and its grid of tokens."""
        if getattr(self.backbone, "absolute_pos_embed", None) is None:
            return {}
        rows, cols = (side // self.patch_size for side in self.img_size)
        return {_PLACES: (rows, cols)}

    def architecture(self) -> dict[str, Any]:
        """Return it without drop path, which belongs to a training run and not to the weights."""
        window = self.window_size
        return {
            "name": self.name,
            "img_size": list(self.img_size),
            "patch_size": self.patch_size,
            "window_size": window
            if isinstance(window, int)
            else [one if isinstance(one, int) else list(one) for one in window],
            "in_chans": self.in_chans,
            "embed_dim": self.embed_dim,
            "depths": list(self.depths),
            "num_heads": list(self.num_heads),
            **self.switches,
        }

    def _build(self, drop_path_rate: float) -> Swin:
        window = self.window_size
        windows = (window,) * len(self.depths) if isinstance(window, int) else window
        shape = SwinShape(
            self.img_size,
            self.in_chans,
            self.patch_size,
            self.embed_dim,
            self.depths,
            self.num_heads,
            tuple(map(sides, windows)),
            drop_path_rate,
            self._pretrained,
        )
        return Swin(shape, *switched(self.switches, self._pretrained is not None))

    def _check_sizes(self) -> None:
        if any(side < self.stride or side % self.stride for side in self.img_size):
            raise UserError(
                f"img_size={self.img_size} is not a multiple of {self.stride} pixels, the patch of "
                f"{self.patch_size} after {len(self.depths)} stages; choose a multiple"
            )
        for stage, num_heads in enumerate(self.num_heads):
            dim = self.embed_dim * 2**stage
            if dim % num_heads:
                raise UserError(
                    f"num_heads={num_heads} does not divide the {dim} channels of "
                    "its stage; choose embed_dim and num_heads so that every stage divides"
                )
