"""Other values of decoders, of the mask token and of growing images, for the sweep over settings.

test_network.py and test_pretraining.py look at what they do.
"""

from operator import attrgetter

from ssl_swin.config.model import ProgressiveConfig

OF_TRANSFORMERS = {"dim": 16, "depth": 2, "num_heads": 2, "positions": "sin-cos"}


def of_decoders(effect, refused, architecture):
    """Each asked of a run with a linear decoder; an epoch has two steps."""
    other = {"mask.token": "pixels", "decoder.kind": "transformer"}
    names = {f"decoder.{name}": value for name, value in OF_TRANSFORMERS.items()}
    return {name: refused(value, architecture) for name, value in other.items()} | {
        **{name: effect(value, attrgetter(f"run.config.{name}")) for name, value in names.items()},
        "progressive": effect((ProgressiveConfig(1, 32),), until_steps, [2]),
    }


def until_steps(seen):
    return [one.until_step for one in seen.run.module.sizes]
