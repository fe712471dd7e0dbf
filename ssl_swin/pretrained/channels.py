"""Move what is learned of an image's channels to images that have others, by a named rule."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ssl_swin.pretrained.mismatch import PretrainedMismatch

_PATCHES = "backbone.patch_embed.proj.weight"  # (embed_dim, channels, patch_size, patch_size)


def _repeat(kernel: Tensor, num: int) -> Tensor:
    """Take the channels in turn; those that share one share its weight, or add up in one."""
    old = kernel.shape[1]
    shared = torch.zeros(num, old, dtype=kernel.dtype)
    for pair in range(max(old, num)):
        shared[pair % num, pair % old] = 1
    shared /= shared.sum(0)  # over the new ones that share an old one
    return torch.einsum("no,dorc->dnrc", shared, kernel)


def _average(kernel: Tensor, num: int) -> Tensor:
    """Give each channel the same: the sum of the old ones, divided by the number of new ones."""
    return kernel.sum(1, keepdim=True).expand(-1, num, -1, -1) / num


def _zero(kernel: Tensor, num: int) -> Tensor:
    """Keep the first channels; further ones begin unseen."""
    kept = kernel[:, :num]
    return torch.cat([kept, kept.new_zeros(len(kept), num - kept.shape[1], *kept.shape[2:])], 1)


CHANNEL_RULES: dict[str, tuple[Callable[[Tensor, int], Tensor], str]] = {
    "repeat": (_repeat, "taken in turn and scaled: alike channels make the same tokens as before"),
    "average": (_average, "each the old ones' sum over the number of new ones"),
    "zero": (_zero, "the first as they are, what is beyond them 0"),
}
"""Name of a rule -> the new kernel of the old one and a number of channels; what is told of it.

The first two give an image whose channels are all alike the same tokens as before.
"""


def fit_channels(
    state: Mapping[str, Tensor], in_chans: int, rule: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Make the weights of an encoder take images of so many channels.

    Returns:
        All the weights, and what is to be told; what has as many already is passed on bit for bit.

    Raises:
        PretrainedMismatch: If there is no such rule, or the encoder has no patches of channels.
    """
    if rule not in CHANNEL_RULES:
        raise PretrainedMismatch(
            f"encoder_channels={rule!r} must be one of {', '.join(CHANNEL_RULES)}"
        )
    if _PATCHES not in state:
        raise PretrainedMismatch(
            f"encoder_channels={rule} is for encoders with {_PATCHES}, which these weights have "
            "not; leave it out"
        )
    kernel = state[_PATCHES]
    old = kernel.shape[1]
    if old == in_chans:
        return dict(state), ()
    make, told = CHANNEL_RULES[rule]
    new = make(kernel.double(), in_chans).to(kernel.dtype).contiguous()
    return {**state, _PATCHES: new}, (f"channels {old} -> {in_chans}, by {rule}: {told}",)
