"""Which layer of a frozen network gives the features: the last, a stage, or any module by name."""

import difflib
import re
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssl_swin.errors import UserError
from ssl_swin.features.networks import Network, mean_of_positions, outputs_of

LAST, POOLED = "last", "pooled"
_STAGE = re.compile(r"stage(\d+)")
_MOST_NAMED = 6
_TRIED = 2  # images; one would not tell the images from other axes of length 1


class LayerFeatures(nn.Module):
    """Normalised images -> the vector of each at one layer of a frozen network.

    Args:
        network: The network.
        layer: "last", the mean over the positions of the last stage, after the last norm;
            "pooled", as the network itself pools for its head; "stage1" and so on, the mean over
            the positions of a stage, before the last norm; or the dotted name of a module, the
            mean over the positions of what it gives.
        shape: Channels, height and width of an image.

    Raises:
        UserError: If there is no such layer; the nearest are named.
    """

    def __init__(self, network: Network, layer: str, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.network: Any = network
        self.layer, self.stage = layer, 0
        if layer in (LAST, POOLED):
            return
        self.eval()
        tried = torch.zeros(_TRIED, *shape).to(next(self.parameters()))
        with torch.inference_mode():
            if match := _STAGE.fullmatch(layer):
                self.stage = int(match[1])
                num_stages = len(network.stages(tried))
                if not 1 <= self.stage <= num_stages:
                    raise UserError(_unknown(layer, network, num_stages))
            elif layer not in dict(network.body.named_modules()) or not layer:
                raise UserError(_unknown(layer, network, len(network.stages(tried))))
            self(tried)  # may refuse

    def forward(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> Float[Tensor, "batch num_features"]:
        """Return the vectors of images."""
        network = self.network
        if self.layer == LAST:
            return network(images)
        if self.layer == POOLED:
            return network.pooled(images)
        if self.stage:
            return network.stages(images)[self.stage - 1]
        (output,) = outputs_of(network.body, [self.layer], images)
        where = f"layer={self.layer}"
        return mean_of_positions(output, len(images), network.num_prefix_tokens, where)


def _unknown(layer: str, network: Network, num_stages: int) -> str:
    names = [name for name, _ in network.body.named_modules() if name]
    stages = [f"stage{number}" for number in range(1, num_stages + 1)]
    every = [LAST, POOLED, *stages, *names]
    nearest = difflib.get_close_matches(layer, every, n=3, cutoff=0.3)
    known = f"{LAST}, {POOLED}" + (f", {stages[0]} to {stages[-1]}" if stages else "")
    some = ", ".join(names[:_MOST_NAMED])
    meant = f"; the nearest are {', '.join(nearest)}" if nearest else ""
    return (
        f"layer={layer} is none of this network: give {known}, or one of its {len(names)} modules "
        f"({some}, ...){meant}"
    )
