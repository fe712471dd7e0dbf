"""SimMIM on a page: hide patches, encode what is left, predict what was hidden."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from ssl_swin.models import masking
from ssl_swin.models.decoder import PixelDecoder
from ssl_swin.models.encoder import Encoder
from ssl_swin.models.losses import Loss, l1, masked_error_per_image, masked_mean
from ssl_swin.models.targets import Target
from ssl_swin.models.targets.pixels import unchanged


class SimMIM(nn.Module):
    """Predict the hidden pixels of normalised images from the visible ones.

    A mask is in mask patches, True where hidden.

    Source:
        SimMIM (arXiv:2111.09886) and its code, models/simmim.py.
    """

    def __init__(
        self,
        encoder: Encoder,
        mask_patch_size: int = 32,
        target: Target = unchanged,
        loss: Loss = l1,
    ) -> None:
        """Put a decoder on an encoder; `TARGETS` makes the target, and `LOSSES` has the loss.

        Raises:
            UserError: If mask patches, in pixels, do not fit the encoder's image and patch sizes.
        """
        super().__init__()
        masking.check_mask_patch_size(encoder.img_size, encoder.patch_size, mask_patch_size)
        self.encoder = encoder
        self.decoder = PixelDecoder(encoder.num_features, encoder.stride, encoder.in_chans)
        self.mask_patch_size, self.target, self.loss = mask_patch_size, target, loss

    def forward(
        self,
        images: Float[Tensor, "batch chans height width"],
        mask: Bool[Tensor, "batch rows cols"],
    ) -> Float[Tensor, ""]:
        """Hide, encode, rebuild, and sum the error over all hidden pixels and channels.

        In float32 also under autocast. Sums of micro-batches add up; `masked_mean` divides them by
        the hidden pixels of the whole global batch.
        """
        return self._error_sums(images, mask).sum()

    def error_per_image(
        self,
        images: Float[Tensor, "batch chans height width"],
        mask: Bool[Tensor, "batch rows cols"],
    ) -> Float[Tensor, " batch"]:
        """Return each image's own loss, for a held-out mean over any split into batches."""
        num_masked_px = mask.sum((1, 2)) * self.mask_patch_size**2  # (batch,)
        return masked_mean(self._error_sums(images, mask), num_masked_px, self.encoder.in_chans)

    def reconstruct(
        self,
        images: Float[Tensor, "batch chans height width"],
        mask: Bool[Tensor, "batch rows cols"],
    ) -> Float[Tensor, "batch chans height width"]:
        """Predict the target at every pixel, hidden or not, from the visible ones."""
        token_mask = masking.to_tokens(mask, self.mask_patch_size // self.encoder.patch_size)
        return self.decoder(self.encoder(images, token_mask))

    def _error_sums(self, images: Tensor, mask: Tensor) -> Float[Tensor, " batch"]:
        pixel_mask = masking.to_pixels(mask, self.mask_patch_size)
        rebuilt = self.reconstruct(images, mask)
        return masked_error_per_image(self.target(images), rebuilt, pixel_mask, self.loss)
