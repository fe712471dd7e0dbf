"""Other values of decoders and of the mask token; test_network.py looks at what they do."""

from operator import attrgetter

OF_TRANSFORMERS = {"dim": 16, "depth": 2, "num_heads": 2, "positions": "sin-cos"}


def of_decoders(effect, refused, architecture):
    """Each asked of a run with a linear decoder, for the sweep over settings."""
    other = {"mask.token": "pixels", "decoder.kind": "transformer"}
    names = {f"decoder.{name}": value for name, value in OF_TRANSFORMERS.items()}
    return {name: refused(value, architecture) for name, value in other.items()} | {
        name: effect(value, attrgetter(f"run.config.{name}")) for name, value in names.items()
    }
