"""Which recipe a run has: the official code's quirks kept, or put right; and what that changes."""

from collections.abc import Iterator
from typing import Any

from ssl_swin.config.run import RunConfig
from ssl_swin.models.simmim import SimMIM
from ssl_swin.training.learner import Learner
from ssl_swin.training.optim import finetune_groups, pretrain_groups
from ssl_swin.training.quirks import RECIPES, Quirks


def quirks_of(config: RunConfig) -> Quirks:
    """Return the quirks of a run's recipe; `optim.warmup_prefix` decides on one, if it is given."""
    quirks, prefix = RECIPES[config.recipe], config.optim.warmup_prefix
    return quirks if prefix is None else quirks._replace(cosine_under_warmup=not prefix)


def recipe_told(config: RunConfig, module: Learner) -> str:
    """Say which recipe a run has, and in what it differs from the other one: of this run alone."""
    quirks = quirks_of(config)
    kept, right = ([*_told(config, module, quirks, of)] for of in (True, False))
    told = f"recipe: {config.recipe}"
    if kept:
        told += f"; as in the official code {', '.join(kept)}"
    if right:
        told += f"; put right: {', '.join(right)}"
    return told


def _told(config: RunConfig, module: Learner, quirks: Quirks, kept: bool) -> Iterator[str]:
    """Yield what a run does by the quirks that are kept, or, if not `kept`, by those that are not.

    Those that change nothing of the run are left out.
    """
    optim, curve = config.optim, module.schedule.curve
    num = len(_decaying(module, True) - _decaying(module, False))
    if num and quirks.decays_places == kept:
        what = f"tables and tokens of places and scores ({num})"
        yield f"{what} decay" if kept else f"{what} do not decay"
    if optim.schedule == "cosine" and curve.warmup_steps and quirks.cosine_under_warmup == kept:
        yield "the cosine runs under the warm-up" if kept else "the cosine starts after the warm-up"
    if quirks.lags == kept:
        yield "a step has the rate of the one before" if kept else "each step has its own rate"
    if optim.layer_decay != 1 and quirks.same_ends == kept:
        yield (
            "all layers start and end at one rate" if kept else "layers start and end at their own"
        )


def _decaying(module: Learner, decays_places: bool) -> set[str]:
    """Return the parameters that decay with a quirk, or without it."""
    network: Any = module.network
    make = pretrain_groups if isinstance(network, SimMIM) else finetune_groups
    groups = make(network, 1.0, 1.0, decays_places)
    return {name for group in groups if group["weight_decay"] for name in group["param_names"]}
