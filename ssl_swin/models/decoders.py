"""What predicts from a map: a table of decoders. A new one is a file beside this, and a line."""

from collections.abc import Callable

from torch import nn

from ssl_swin.models.decoder import linear
from ssl_swin.models.transformer_decoder import TransformerDecoder

DECODERS: dict[str, Callable[..., nn.Module]] = {
    "linear": linear,
    "transformer": TransformerDecoder,
}
"""Name -> what makes the decoder of a `DecoderShape`: a module that makes a prediction of a map.

It is given the options of all, and uses its own.
"""
