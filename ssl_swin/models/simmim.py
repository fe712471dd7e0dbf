"""SimMIM on a page: hide patches, encode what is left, predict the hidden pixels."""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from ssl_swin.models import masking, reconstruction, targets
from ssl_swin.models.encoder import Encoder


class SimMIMOutput(NamedTuple):
    """What one batch gives.

    Attributes:
        loss: Mean absolute error over this batch's hidden pixels; in float32 under autocast.
        reconstruction: The prediction at every pixel, hidden or not.
        error_sum: Absolute error summed over hidden pixels and channels; micro-batches add up.
        num_masked_px: Hidden pixels in this batch, not counting channels.
    """

    loss: Float[Tensor, ""]
    reconstruction: Float[Tensor, "batch chans height width"]
    error_sum: Float[Tensor, ""]
    num_masked_px: Int64[Tensor, ""]


class SimMIM(nn.Module):
    """Predict the hidden pixels of an image from the visible ones.

    Source:
        SimMIM (arXiv:2111.09886) and its code, models/simmim.py.
    """

    def __init__(
        self,
        encoder: Encoder,
        mask_patch_size: int = 32,
        norm_target_size: int | None = None,
    ) -> None:
        """Put a decoder on an encoder.

        Args:
            encoder: Encodes images with hidden tokens.
            mask_patch_size: Side of a mask patch in pixels.
            norm_target_size: Side in pixels (odd) of the square that normalises the target; None
                predicts plain pixels.

        Raises:
            ValueError: If mask patches do not fit the encoder's image and patch sizes, or
                norm_target_size is even.
        """
        super().__init__()
        masking.check_mask_patch_size(encoder.img_size, encoder.patch_size, mask_patch_size)
        if norm_target_size is not None:
            targets.check_norm_target_size(norm_target_size)
        self.encoder = encoder
        self.decoder = reconstruction.PixelDecoder(
            encoder.num_features, encoder.stride, encoder.in_chans
        )
        self.mask_patch_size = mask_patch_size
        self.norm_target_size = norm_target_size

    def forward(
        self,
        images: Float[Tensor, "batch chans height width"],
        mask: Bool[Tensor, "batch rows cols"],
    ) -> SimMIMOutput:
        """Hide, encode, rebuild, and measure the error where it was hidden.

        Args:
            images: Normalised.
            mask: True where hidden, in mask patches.
        """
        rebuilt = self.reconstruct(images, mask)
        pixel_mask = masking.to_pixels(mask, self.mask_patch_size)
        error_sum = reconstruction.masked_error_sum(self.target(images), rebuilt, pixel_mask)
        num_masked_px = mask.sum() * self.mask_patch_size**2
        loss = reconstruction.masked_mean(error_sum, num_masked_px, self.encoder.in_chans)
        return SimMIMOutput(loss, rebuilt, error_sum, num_masked_px)

    def reconstruct(
        self,
        images: Float[Tensor, "batch chans height width"],
        mask: Bool[Tensor, "batch rows cols"],
    ) -> Float[Tensor, "batch chans height width"]:
        """Predict every pixel from the visible ones."""
        token_mask = masking.to_tokens(mask, self.mask_patch_size // self.encoder.patch_size)
        return self.decoder(self.encoder(images, token_mask))

    def target(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> Float[Tensor, "batch chans height width"]:
        """Return what is to be predicted for these images."""
        if self.norm_target_size is None:
            return targets.pixel_target(images)
        return targets.normalized_target(images, self.norm_target_size)

    def error_per_image(
        self,
        images: Float[Tensor, "batch chans height width"],
        mask: Bool[Tensor, "batch rows cols"],
    ) -> Float[Tensor, " batch"]:
        """Return each image's own loss, for a held-out mean over any split into batches.

        Args:
            images: Normalised.
            mask: True where hidden, in mask patches.
        """
        pixel_mask = masking.to_pixels(mask, self.mask_patch_size)
        error = reconstruction.masked_error_per_image(
            self.target(images), self.reconstruct(images, mask), pixel_mask
        )
        return reconstruction.masked_mean(error, pixel_mask.sum((1, 2)), self.encoder.in_chans)
