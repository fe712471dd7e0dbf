"""Hand encoder weights to timm, and take them from it."""

from collections.abc import Mapping

from torch import Tensor

_PREFIX = "backbone."


def to_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of a SwinEncoder the names they have in timm.

    The mask token is dropped, which timm does not have. They load strictly into
    ``timm.create_model(name, num_classes=0, ...)`` of the encoder's architecture.
    """
    return {
        key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)
    }


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give timm's weights the names they have in our SwinEncoder.

    The classification head is dropped; the mask token is missing and may be.
    """
    return {_PREFIX + key: value for key, value in state.items() if not key.startswith("head.")}
