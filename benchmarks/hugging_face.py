"""transformers' Swin for SimMIM with our weights: another side to time ours against."""

import re
from collections.abc import Iterator

from torch import Tensor, nn
from transformers import SwinConfig, SwinForMaskedImageModeling

from ssl_swin.models.masking import to_tokens
from ssl_swin.models.simmim import SimMIM

# Parts of the names of our weights -> of theirs, in transformers 5.24.
NAMES = (
    (r"encoder\.mask_token", "swin.embeddings.mask_token"),
    (r"encoder\.backbone\.patch_embed\.proj", "swin.embeddings.patch_embeddings.projection"),
    (r"encoder\.backbone\.patch_embed\.norm", "swin.embeddings.norm"),
    (r"encoder\.backbone\.norm", "swin.layernorm"),
    (r"encoder\.backbone\.layers\.", "swin.encoder.layers."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.relative", ".attention.relative_position_bias.relative"),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"decoder\.conv\.", "decoder.0."),
)
_DOWNSAMPLE = re.compile(r"layers\.(\d+)\.downsample")


class HuggingFace(nn.Module):
    """A copy of our network, computed by transformers; called as ours is, it returns the loss."""

    def __init__(self, ours: SimMIM, attention: str) -> None:
        """Build it; attention is "eager" or "sdpa", and no window is larger than a stage."""
        super().__init__()
        sizes = ours.encoder.architecture()
        config = SwinConfig(
            image_size=sizes["img_size"][0],
            encoder_stride=ours.encoder.stride,
            drop_path_rate=0.0,
            attn_implementation=attention,
            **{
                name: sizes[name]
                for name in ("patch_size", "window_size", "embed_dim", "depths", "num_heads")
            },
        )
        self.theirs = SwinForMaskedImageModeling(config)
        self.theirs.load_state_dict(dict(renamed(ours.state_dict())))
        self.mask_patch_size, self.patch_size = ours.mask_patch_size, ours.encoder.patch_size

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        """Return the loss; the mask is in mask patches, True where hidden."""
        hidden = to_tokens(mask, self.mask_patch_size // self.patch_size).flatten(1)
        return self.theirs(pixel_values=images, bool_masked_pos=hidden).loss


def renamed(state: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Give our weights the names they have in transformers, where down-sampling ends a stage."""
    for name, value in state.items():
        name = _DOWNSAMPLE.sub(lambda found: f"layers.{int(found[1]) - 1}.downsample", name)
        for ours, theirs in NAMES:
            name = re.sub(ours, theirs, name)
        if ".attn.qkv." not in name:
            yield name, value
            continue
        for part, rows in zip("qkv", value.chunk(3), strict=True):
            yield name.replace(".attn.qkv.", f".attention.{part}_proj."), rows
