"""Stop "encode" on the route: a ViT with a mask token, as the house knows it."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ssl_swin.errors import UserError
from ssl_swin.models.patches import check_images
from ssl_swin.models.vit_backbone import ViT, ViTShape, start
from ssl_swin.models.vit_choices import ViTChoices, vit_kind, vit_sizes

_BLOCK = re.compile(r"backbone\.blocks\.(\d+)\.")
_STEM = ("mask_token", "backbone.cls_token", "backbone.pos_embed", "backbone.patch_embed.")
_LAST = ("backbone.norm.", "backbone.fc_norm.")
_SHARED = "backbone.rel_pos_bias.relative_position_bias_table"
_TABLE = "backbone.blocks.{}.attn.relative_position_bias_table"
_PLACES = "backbone.pos_embed"


class ViTEncoder(nn.Module):
    """An `Encoder` in which one learned token replaces hidden tokens before the first block.

    Every token, hidden or not, goes through `backbone`, whose weights have timm's names and shapes:
    its ViT's, and its BEiT's where there are tables of relative positions. The class token goes
    through all blocks, too, and is no part of the output.

    Its layers are its blocks. Its stages are quarters of them, all at the stride of a patch, so
    that there are four maps as of a Swin.

    Source:
        ViT (arXiv:2010.11929), BEiT (arXiv:2106.08254); SimMIM code, models/simmim.py and
        models/vision_transformer.py.
    """

    free_sizes: ClassVar[tuple[str, ...]] = ("position", "fc_norm", "norm_eps")
    head_scale: ClassVar[float] = 0.001

    def __init__(
        self,
        name: str = "vit_base_patch16_224",
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        **choices: Unpack[ViTChoices],
    ) -> None:
        """Build a ViT by timm's name and check that its sizes fit.

        The chance to skip a block's branch, in [0, 1), grows with depth up to `drop_path_rate`.

        Raises:
            UserError: If the sizes do not fit each other, or one of them is no size of a ViT.
        """
        super().__init__()
        rows, cols = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.name, self.img_size, self.in_chans = name, (int(rows), int(cols)), in_chans
        self.sizes = vit_sizes(name, choices)
        self.patch_size = self.stride = self.sizes["patch_size"]
        self.num_features = self.sizes["embed_dim"]
        ((depth,), (num_heads,)) = self.sizes["depths"], self.sizes["num_heads"]
        self.num_layers = depth
        if any(side < self.stride or side % self.stride for side in self.img_size):
            raise UserError(
                f"img_size={self.img_size} is not a multiple of {self.stride} pixels, the patch; "
                "choose a multiple"
            )
        shape = ViTShape(
            self.img_size,
            in_chans,
            self.patch_size,
            self.num_features,
            depth,
            num_heads,
            drop_path_rate,
        )
        self.backbone = ViT(shape, vit_kind(self.sizes))
        self.mask_token = nn.Parameter(torch.empty(1, 1, self.num_features))
        start(self.mask_token)

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
        return self.backbone(images, token_mask, self.mask_token).permute(0, 3, 1, 2)

    def stages(
        self,
        images: Float[Tensor, "batch chans height width"],
        token_mask: Bool[Tensor, "batch token_rows token_cols"] | None = None,
    ) -> list[Float[Tensor, "batch _ _ _"]]:
        """Return the map after each quarter of the blocks; of fewer than four, after each block."""
        check_images(images, self.in_chans, self.img_size)
        maps = self.backbone.maps(images, token_mask, self.mask_token)
        return [one.permute(0, 3, 1, 2) for one in maps]

    def visible_stages(
        self,
        images: Float[Tensor, "batch chans height width"],
        token_mask: Bool[Tensor, "token_rows token_cols"],
    ) -> tuple[list[Float[Tensor, "batch _ _ _"]], list[Float[Tensor, "batch _ _ _"]]]:
        """Return no starts, and `stages` as if hidden tokens were not there; 0 where they are."""
        check_images(images, self.in_chans, self.img_size)
        maps = self.backbone.visible_maps(images, token_mask)
        return [], [one.permute(0, 3, 1, 2) for one in maps]

    def require_leaving_out(self, mask_patch_size: int) -> None:
        """Refuse nothing: a ViT has no windows, and merges no tokens."""

    def finish(
        self, last_map: Float[Tensor, "batch num_features out_rows out_cols"]
    ) -> Float[Tensor, "batch num_features out_rows out_cols"]:
        """Take the norm of the last block's map: that is the output."""
        return self.backbone.norm(last_map.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def pool(
        self, output: Float[Tensor, "batch num_features out_rows out_cols"]
    ) -> Float[Tensor, "batch num_features"]:
        """Return the mean over all positions, normed if the positions are not."""
        return self.backbone.fc_norm(output.mean((2, 3)))

    def pool_parameters(self) -> set[str]:
        """Return the norm of the mean, if there is one."""
        names = (f"backbone.fc_norm.{name}" for name, _ in self.backbone.fc_norm.named_parameters())
        return set(names)

    def blocks(self) -> list[nn.Module]:
        """Return all blocks."""
        return list(self.backbone.blocks)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep the input of each block alone; the backward computes it again, as it was drawn."""
        self.backbone.set_grad_checkpointing(enable)

    def layer_of(self, parameter_name: str) -> int:
        """Count a parameter's layer from the image: 0 for the stem, then one for each block.

        A table that all blocks share is with the head, as in the official code.

        Raises:
            ValueError: If the parameter is none of a ViT's.

        Source:
            SimMIM code, optimizer.py, ``get_vit_layer``.
        """
        if match := _BLOCK.match(parameter_name):
            return int(match[1]) + 1
        if parameter_name.startswith(_STEM):
            return 0
        if parameter_name.startswith((*_LAST, _SHARED)):
            return self.num_layers + 1
        raise ValueError(f"{parameter_name!r} belongs to no known layer of a ViT")

    def stage_of(self, parameter_name: str) -> str:
        """Return "stem", or "stage1" and so on; a shared table is the stem's, the norm the last's.

        A table that all blocks share changes what the first does, so it is frozen with the stem.
        """
        last = self.backbone.last_blocks
        if match := _BLOCK.match(parameter_name):
            number = int(match[1])
            return f"stage{next(n for n, one in enumerate(last, 1) if number <= one)}"
        return f"stage{len(last)}" if parameter_name.startswith(_LAST) else "stem"

    def no_decay(self) -> set[str]:
        """Return class token and embedding of places; the official code's ViT decays all else."""
        names = {name for name, _ in self.named_parameters()}
        return names & {"backbone.cls_token", _PLACES}

    def mask_parameters(self) -> set[str]:
        """Return the mask token, which whole images never use."""
        return {"mask_token"}

    def position_tables(self) -> dict[str, tuple[int, int]]:
        """Return each block's table, or the one of all, with the rows and columns of tokens."""
        names = {name for name, _ in self.named_parameters()}
        own = [_SHARED, *(_TABLE.format(block) for block in range(self.num_layers))]
        return {name: self.backbone.grid for name in own if name in names}

    def place_embeddings(self) -> dict[str, tuple[int, int]]:
        """Return the embedding of absolute positions, if there is one, and its grid of tokens."""
        return {} if self.backbone.pos_embed is None else {_PLACES: self.backbone.grid}

    def adapted(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Turn weights of a ViT with a shared table, or with the other norm, into this one's.

        Each block gets a copy of the shared table. A norm of the mean starts anew where the weights
        have one of each position, and the other way round.

        Source:
            SimMIM code, utils.py, ``remap_pretrained_keys_vit``, and its ``strict=False``.
        """
        own, new, said = self.state_dict(), dict(state), []
        if _SHARED in new and _SHARED not in own and _TABLE.format(0) in own:
            table = new.pop(_SHARED)
            new |= {_TABLE.format(block): table.clone() for block in range(self.num_layers)}
            said.append("the table of relative positions that all blocks shared is each block's")
        here, there = _LAST if f"{_LAST[0]}weight" in own else _LAST[::-1]
        if f"{here}weight" not in new and f"{there}weight" in new:
            for name in ("weight", "bias"):
                like = new.pop(there + name)
                new[here + name] = (torch.ones_like if name == "weight" else torch.zeros_like)(like)
            what = ("mean over positions", "positions")
            now, then = what if here == _LAST[1] else what[::-1]
            said.append(f"the norm of the {now} starts anew, for the weights norm the {then}")
        return new, tuple(said)

    def architecture(self) -> dict[str, Any]:
        """Return it without drop path, which belongs to a training run and not to the weights."""
        sizes = {k: list(one) if isinstance(one, tuple) else one for k, one in self.sizes.items()}
        its = {"name": self.name, "img_size": list(self.img_size), "in_chans": self.in_chans}
        return its | sizes
