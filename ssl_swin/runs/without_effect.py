"""What a pretraining was asked for that changes nothing of it: settings of what it does not use."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

from ssl_swin.config.run import PretrainConfig
from ssl_swin.data.pixels.decode import sides
from ssl_swin.models.decoders import DECODERS
from ssl_swin.models.losses import LOSSES
from ssl_swin.models.targets import TARGETS

_OF_TEACHERS = ("teacher_img_size", "teacher_stage", "teacher_at")
_OF_TARGETS = ("norm_size", "cell_size", "hog_bins", *_OF_TEACHERS, "where")
_POOLED = "teacher_pooled"  # the target of all of an image, which is predicted from a mean
_OF_DECODERS = ("kind", "dim", "depth", "num_heads", "positions")


def without_effect(config: PretrainConfig) -> str | None:
    """Say in a line which settings have another value than usual, and no effect; None if none.

    All kinds that the config names must be known.
    """
    found = [*_of_all(config), *_of_heads(config)]
    if not found:
        return None
    return f"warning: without effect, so leave them out: {', '.join(found)}"


def _of_all(config: PretrainConfig) -> Iterator[str]:
    kinds = {one.target for one in config.heads} or {config.target.kind}
    used = {name for kind in kinds for name in _options(TARGETS[kind])}
    used |= {*_OF_TEACHERS} if "teacher" in used else set()
    used |= {"where"} if kinds != {_POOLED} else set()
    yield from _changed(config.target, "target.", _OF_TARGETS, used, f"target {_listed(kinds)}")
    decoder = config.decoder
    used, beside = {"kind"} | _options(DECODERS[decoder.kind]), f"decoder.kind={decoder.kind}"
    if kinds == {_POOLED}:
        used, beside = set(), f"target {_POOLED}"
    yield from _changed(decoder, "decoder.", _OF_DECODERS, used, beside)
    yield from _of_no_head(config)
    for number, one in enumerate(config.progressive):
        if sides(one.img_size) == sides(config.model.img_size):
            yield f"progressive[{number}].img_size={one.img_size} beside as large a model.img_size"
    losses = {one.loss for one in config.heads} or {config.loss}
    used = {name.replace("beta", "loss_beta") for loss in losses for name in _options(LOSSES[loss])}
    yield from _changed(config, "", ("loss_beta",), used, f"loss {_listed(losses)}")


def _changed(
    section: Any, prefix: str, names: tuple[str, ...], used: set[str], beside: str
) -> Iterator[str]:
    """Yield which of these settings are not used, and have another value than usual."""
    usual = {one.name: one.default for one in fields(section)}
    for name in names:
        value = getattr(section, name)
        if name not in used and value != usual[name]:
            yield f"{prefix}{name}={value} beside {beside}"


def _of_no_head(config: PretrainConfig) -> Iterator[str]:
    """Yield what all heads that could use it have of their own."""
    cells = [one for one in config.heads if "cell_size" in _options(TARGETS[one.target])]
    places = [one for one in config.heads if one.target != _POOLED]
    dims = [one.decoder_dim for one in places if "dim" in _options(DECODERS[config.decoder.kind])]
    own: tuple[tuple[str, list[Any], Any, str], ...] = (
        ("cell_size", [one.cell_size for one in cells], config.target, "target."),
        ("where", [one.where for one in places], config.target, "target."),
        ("dim", dims, config.decoder, "decoder."),
    )
    for name, values, section, prefix in own:
        if values and None not in values:
            yield from _changed(section, prefix, (name,), set(), "heads, each of which has its own")


def _of_heads(config: PretrainConfig) -> Iterator[str]:
    decoder, dim = config.decoder.kind, "dim" in _options(DECODERS[config.decoder.kind])
    for number, one in enumerate(config.heads):
        head, pools = f"heads[{number}].", one.target == _POOLED
        if one.cell_size is not None and "cell_size" not in _options(TARGETS[one.target]):
            yield f"{head}cell_size={one.cell_size} beside target {one.target}"
        if one.decoder_dim is not None and (pools or not dim):
            beside = f"target {one.target}" if pools else f"decoder.kind={decoder}"
            yield f"{head}decoder_dim={one.decoder_dim} beside {beside}"
        if one.where is not None and pools:
            yield f"{head}where={one.where} beside target {one.target}"
        elif one.where == "hidden" and config.mask.kind == "none":
            yield f"{head}where=hidden beside mask.kind=none"


def _options(makes: Callable[..., Any]) -> set[str]:
    """Return the options that a function of a table uses, of those of all."""
    return {*inspect.signature(makes).parameters}


def _listed(words: set[str]) -> str:
    return " and ".join(sorted(words))
