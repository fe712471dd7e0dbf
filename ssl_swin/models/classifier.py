"""Stop "fine-tune" on the route: encoder, mean over positions, linear head."""

from contextlib import nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssl_swin.errors import UserError
from ssl_swin.models.encoder import Encoder, PoolsItself, pooled
from ssl_swin.models.freezing import rest


class Classifier(nn.Module):
    """Classify images by the mean of the encoder's features.

    Source:
        Swin code, models/swin_transformer.py: final norm, average pooling, linear head with a
        truncated normal start of standard deviation 0.02 and bias 0; of a ViT, a thousandth of it:
        SimMIM code, models/vision_transformer.py, `init_scale`.
    """

    def __init__(self, encoder: Encoder, num_classes: int) -> None:
        """Put a head on an encoder and freeze its mask token.

        Nothing is hidden here, so the mask token would never get a gradient, which distributed
        training refuses. It stays in the weights, so that they can go back to pretraining.

        Raises:
            UserError: If num_classes is smaller than 1.
        """
        super().__init__()
        if num_classes < 1:
            raise UserError(f"num_classes={num_classes} must be at least 1")
        self.encoder, self.head_alone = encoder, False
        for name in encoder.mask_parameters():
            encoder.get_parameter(name).requires_grad_(False)
        self.head = nn.Linear(encoder.num_features, num_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        if isinstance(encoder, PoolsItself):
            with torch.no_grad():
                self.head.weight.mul_(encoder.head_scale)

    def train(self, mode: bool = True) -> "Classifier":
        """Set the mode; what is frozen, or learns later, stays in eval mode."""
        super().train(mode)
        if mode:
            rest(self)
            if self.head_alone:
                encoder: Any = self.encoder
                encoder.eval()
        return self

    def train_head_alone(self, alone: bool) -> None:
        """Have the encoder as in evaluation, without gradient, until this is called again."""
        if alone != self.head_alone:
            self.head_alone = alone
            self.train(self.training)

    def features(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> Float[Tensor, "batch num_features"]:
        """Return the mean of features over all positions, of normalised images; see `pooled`."""
        with torch.no_grad() if self.head_alone else nullcontext():
            return pooled(self.encoder, self.encoder(images))

    def forward(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> Float[Tensor, "batch num_classes"]:
        """Return the logits of normalised images."""
        return self.head(self.features(images))
