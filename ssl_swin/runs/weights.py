"""The weights that a new run begins with: out of a file, into its encoder."""

from typing import Any

from ssl_swin.config.run import RunConfig, begins_with
from ssl_swin.errors import naming
from ssl_swin.models.encoder import Encoder
from ssl_swin.pretrained.named import find_any
from ssl_swin.pretrained.open import load_weights
from ssl_swin.training.trainer import say


def take_weights(encoder: Encoder, config: RunConfig) -> dict[str, Any] | None:
    """Give the encoder of a new run the weights that its config names, and say what became of them.

    Parameters that the file lacks, as the mask token of most, stay as they were drawn.

    Returns:
        What became of them, as `loaded.json` has it; None if the config names none.

    Raises:
        UserError: If the file cannot be read, or does not fit.
    """
    name, source = begins_with(config)
    if source is None:
        return None
    with naming(f"{name}={source}"):
        weights = find_any(source)
        report = load_weights(encoder, weights, config.encoder_channels)
    for line in report.lines(source):
        say(line)
    return report.plain(source)
