"""Hand encoder weights to timm, and take them from it."""

from collections.abc import Mapping

from torch import Tensor

from ssl_swin.models.swin import SwinEncoder


def to_timm(encoder: SwinEncoder) -> dict[str, Tensor]:
    """Return the weights as timm names them, without the mask token, which timm does not have.

    They load strictly into ``timm.create_model(name, num_classes=0, ...)`` of the encoder's
    architecture.
    """
    return dict(encoder.backbone.state_dict())


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give timm's weights the names they have in our SwinEncoder.

    The classification head is dropped; the mask token is missing and may be.
    """
    return {f"backbone.{key}": value for key, value in state.items() if not key.startswith("head.")}
