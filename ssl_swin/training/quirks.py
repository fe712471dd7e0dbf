"""What the official code does otherwise than it means to: kept, or put right."""

from typing import NamedTuple


class Quirks(NamedTuple):
    """Whether a run does as the official code; the defaults do.

    Source:
        SimMIM code, optimizer.py and lr_scheduler.py; the Swin code put the second right in pull
        request 278.
    """

    decays_places: bool = True
    """Position tables, and what makes scores in their place, decay in pretraining, for the names to
    exempt are those of another module. Of a ViT they do in fine-tuning, and its mask token does."""
    cosine_under_warmup: bool = True
    """The cosine is counted from the first step, so that the rate falls where the warm-up ends."""
    lags: bool = True
    """The rate is set after a step, for the next but one: step s has that of s - 1."""
    same_ends: bool = True
    """With a layer decay all layers start and end at one rate, whatever theirs is in between."""


OFFICIAL = Quirks()
RECIPES = {"official": OFFICIAL, "corrected": Quirks(False, False, False, False)}
"""Name of a recipe -> its quirks."""
