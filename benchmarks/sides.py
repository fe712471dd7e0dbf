"""The networks that `step.py` times: ours, ours with a gain taken out, others' code.

All are copies of one network, and are called alike: images and mask -> the loss of SimMIM.
"""

import copy
import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from gains import GAINS, attend_by
from plain import Plain
from torch import nn
from train_step import Given, NotComparable

from ssl_swin.models.attention import fused_attention
from ssl_swin.models.blocks import compile_blocks, compiled_folder, fuse_attention
from ssl_swin.models.encoder import build_encoder
from ssl_swin.models.normalise import Normalisation
from ssl_swin.models.simmim import SimMIM

# The encoder of configs/pretrain/demo.yaml with colours, and with windows that shift.
DEMO = {
    "name": "swin_tiny_patch4_window7_224",
    "img_size": 32,
    "window_size": 4,
    "embed_dim": 48,
    "depths": (2, 2),
    "num_heads": (3, 6),
}


class Side(NamedTuple):
    """One of them."""

    build: Callable[[SimMIM], nn.Module]  # from ours, which it leaves as it is
    told: str
    asked_for: bool = False  # it is timed only where it is asked for
    compiled: bool = False  # which takes minutes on a CPU
    needs: str | None = None  # a module that may not be installed


def build_ours(model: str, img_size: int | None = None, window_size: int | None = None) -> SimMIM:
    """Build our network of timm's name of a Swin, or "demo"; sizes not given are the name's."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"name": model} if model != "demo" else dict(DEMO)
    given = {"img_size": img_size, "window_size": window_size}
    sizes |= {name: value for name, value in given.items() if value is not None}
    encoder = build_encoder(in_chans=3, **sizes)
    return SimMIM(encoder, encoder.stride)


def draw_given(ours: SimMIM, batch: int, device: torch.device) -> Given:
    """Draw images and masks for a step."""
    generator = torch.Generator().manual_seed(0)
    shape = (batch, 3, *ours.encoder.img_size)
    pixels = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    mask = ours.random_mask(torch.arange(batch))
    return Given(Normalisation()(pixels).to(device), mask.to(device))


def missing(name: str) -> str | None:
    """Return the module that a side needs and that is not installed, if there is one."""
    needs = SIDES[name].needs
    return needs if needs and importlib.util.find_spec(needs) is None else None


def _ours(ours: SimMIM, take_out: Callable[[SimMIM], None] | None = None) -> SimMIM:
    """Copy ours as pretraining computes it: on a GPU, attention is fused."""
    network = copy.deepcopy(ours)
    fuse_attention(network.encoder, next(network.parameters()).is_cuda)
    if take_out is not None:
        take_out(network)
    return network


def _attention(network: Any, fused: bool) -> Any:
    fuse_attention(network, fused)
    return network


def _compiled(network: Any, blocks: list[nn.Module]) -> Any:
    compiled_folder()
    compile_blocks(blocks, "default")
    return network


def _compiled_ours(ours: SimMIM) -> nn.Module:
    network: Any = _ours(ours)
    return _compiled(network, network.encoder.blocks())


def _compiled_timm(ours: SimMIM) -> nn.Module:
    network = Plain(ours)
    return _compiled(network, network.blocks())


def _transformers(ours: SimMIM, attention: str) -> nn.Module:
    sizes = ours.encoder.architecture()
    window, smallest = sizes["window_size"], min(sizes["img_size"]) // ours.encoder.stride
    if not isinstance(window, int) or window > smallest:
        raise NotComparable(
            f"transformers has no window of {window} in a stage of {smallest} tokens to a side; "
            f"give a --window-size of at most {smallest}, or leave this side out of --sides"
        )
    from hugging_face import HuggingFace  # late: transformers may not be installed

    return HuggingFace(ours, attention)


SIDES = {
    "ours": Side(_ours, "as pretraining computes it"),
    **{
        f"ours-{name}": Side(partial(_ours, take_out=gain.take_out), f"ours, but {gain.told}")
        for name, gain in GAINS.items()
    },
    "ours+sdpa": Side(
        partial(_ours, take_out=partial(attend_by, fused_attention)),
        "ours, attention by one kernel of torch",
    ),
    "ours-fused": Side(
        lambda ours: _attention(_ours(ours), False),
        "ours, attention in steps; on a CPU it always is",
        asked_for=True,
    ),
    "ours+compiled": Side(_compiled_ours, "ours, blocks compiled", asked_for=True, compiled=True),
    "timm": Side(lambda ours: _attention(Plain(ours), False), "timm's, attention in steps"),
    "timm+sdpa": Side(
        lambda ours: _attention(Plain(ours), True), "timm's, attention by one kernel of torch"
    ),
    "timm+compiled": Side(_compiled_timm, "timm's, blocks compiled", asked_for=True, compiled=True),
    "transformers": Side(
        partial(_transformers, attention="eager"), "Hugging Face's", needs="transformers"
    ),
    "transformers+sdpa": Side(
        partial(_transformers, attention="sdpa"),
        "Hugging Face's, attention by one kernel of torch",
        needs="transformers",
    ),
}
"""Name of a side -> how it is built. Behind a minus is what ours is without, behind a plus what is
added."""


def build(name: str, ours: SimMIM, device: torch.device) -> nn.Module:
    """Build a side on a device, for training."""
    with device:
        return SIDES[name].build(ours).to(device).train()
