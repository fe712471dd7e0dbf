"""What a pretraining was asked for that changes nothing of it: settings of what it does not use."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

from ssl_swin.config.run import PretrainConfig
from ssl_swin.models.decoders import DECODERS
from ssl_swin.models.losses import LOSSES
from ssl_swin.models.targets import TARGETS

_OF_TARGETS = ("norm_size", "cell_size", "hog_bins")
_OF_DECODERS = ("dim", "depth", "num_heads", "positions")


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
    usual = _defaults(config.target)
    for name in _OF_TARGETS:
        value = getattr(config.target, name)
        if value != usual[name] and name not in used:
            yield f"target.{name}={value} beside target {_listed(kinds)}"
    usual, used = _defaults(config.decoder), _options(DECODERS[config.decoder.kind])
    for name in _OF_DECODERS:
        value = getattr(config.decoder, name)
        if value != usual[name] and name not in used:
            yield f"decoder.{name}={value} beside decoder.kind={config.decoder.kind}"
    losses = {one.loss for one in config.heads} or {config.loss}
    has_beta = any("beta" in _options(LOSSES[loss]) for loss in losses)
    if config.loss_beta != _defaults(config)["loss_beta"] and not has_beta:
        yield f"loss_beta={config.loss_beta} beside loss {_listed(losses)}"


def _of_heads(config: PretrainConfig) -> Iterator[str]:
    decoder = config.decoder.kind
    for number, one in enumerate(config.heads):
        if one.cell_size is not None and "cell_size" not in _options(TARGETS[one.target]):
            yield f"heads[{number}].cell_size={one.cell_size} beside target {one.target}"
        if one.decoder_dim is not None and "dim" not in _options(DECODERS[decoder]):
            yield f"heads[{number}].decoder_dim={one.decoder_dim} beside decoder.kind={decoder}"
        if one.where == "hidden" and config.mask.kind == "none":
            yield f"heads[{number}].where=hidden beside mask.kind=none"


def _options(makes: Callable[..., Any]) -> set[str]:
    """Return the options that a function of a table uses, of those of all."""
    return {*inspect.signature(makes).parameters}


def _defaults(section: Any) -> dict[str, Any]:
    return {one.name: one.default for one in fields(section)}


def _listed(words: set[str]) -> str:
    return " and ".join(sorted(words))
