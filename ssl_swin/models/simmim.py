"""SimMIM on a page: hide patches, encode what is left, predict what was hidden."""

from typing import Any

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from ssl_swin.models import masking
from ssl_swin.models.decoder import PixelDecoder
from ssl_swin.models.encoder import Encoder, PoolsItself, build_encoder
from ssl_swin.models.lookup import look_up
from ssl_swin.models.losses import Loss, hidden_px, l1, masked_error_per_image, masked_mean
from ssl_swin.models.targets import TARGETS, Target
from ssl_swin.models.targets.pixels import unchanged


class SimMIM(nn.Module):
    """Predict the hidden pixels of normalised images from the visible ones.

    A mask is in mask patches, True where hidden.

    Example::

        model = ssl_swin.SimMIM.of("swin_tiny_patch4_window7_224", img_size=192, window_size=6)
        loss = model(images, model.random_mask(index, epoch))

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

        What the encoder uses for vectors alone is frozen, for here it would never get a gradient.

        Raises:
            UserError: If mask patches, in pixels, do not fit the encoder's image and patch sizes.
        """
        super().__init__()
        masking.check_mask_patch_size(encoder.img_size, encoder.patch_size, mask_patch_size)
        self.encoder = encoder
        if isinstance(encoder, PoolsItself):
            for name in encoder.pool_parameters():
                encoder.get_parameter(name).requires_grad_(False)
        self.decoder = PixelDecoder(encoder.num_features, encoder.stride, encoder.in_chans)
        self.mask_patch_size, self.target, self.loss = mask_patch_size, target, loss

    @classmethod
    def of(
        cls,
        name: str,
        img_size: int | tuple[int, int] = 192,
        in_chans: int = 3,
        mask_patch_size: int = 32,
        target: str = "pixels",
        **sizes: Any,
    ) -> "SimMIM":
        """Build one on a new encoder.

        Args:
            name: Of a Swin or ViT of timm, such as "swin_tiny_patch4_window7_224": `ENCODERS`.
            img_size: Pixels: side, or (rows, columns); a multiple of the mask patch.
            in_chans: Channels of an image.
            mask_patch_size: Pixels to a side of what is hidden together; a multiple of the
                encoder's patch.
            target: What is predicted, of `TARGETS`: "pixels" or "normalised_pixels".
            **sizes: Other arguments of `build_encoder`, such as `window_size` (6 is usual for 192
                pixels), `embed_dim`, `depths`, `num_heads`, `drop_path_rate`.

        Raises:
            UserError: If there is no such encoder or target, or sizes do not fit each other.
        """
        make_target = look_up(TARGETS, "target", target)
        encoder = build_encoder(name, img_size, in_chans, **sizes)
        return cls(encoder, mask_patch_size, make_target())

    def random_mask(
        self,
        index: Int64[Tensor, " batch"],
        epoch: int | Int64[Tensor, " batch"] = 0,
        mask_ratio: float = 0.6,
        seed: int = 0,
    ) -> Bool[Tensor, "batch rows cols"]:
        """Draw a mask for each image, as pretraining does: a pure function of the arguments.

        Args:
            index: Each image's number, such as ``batch["index"]``.
            epoch: Counted from 0, one for all or one for each; another one hides other patches.
            mask_ratio: Share of mask patches to hide in each image, in (0, 1), rounded up.
            seed: Another one hides other patches, too.

        Returns:
            In mask patches, True where hidden, on the device of `index`.

        Raises:
            UserError: If the ratio hides nothing, or everything.
        """
        grid = masking.grid(self.encoder.img_size, self.mask_patch_size)
        hidden = masking.count_hidden(grid, mask_ratio)
        return masking.random_mask(index, epoch, seed, grid, hidden)

    def forward(
        self,
        images: Float[Tensor, "batch chans height width"],
        mask: Bool[Tensor, "batch rows cols"],
    ) -> Float[Tensor, ""]:
        """Return the loss: the mean error over all hidden pixels and channels of the batch.

        In float32 also under autocast.
        """
        num_masked_px = mask.sum() * self.mask_patch_size**2
        return masked_mean(self.error_sum(images, mask), num_masked_px, self.encoder.in_chans)

    def error_sum(
        self,
        images: Float[Tensor, "batch chans height width"],
        mask: Bool[Tensor, "batch rows cols"],
        there: Bool[Tensor, "batch chans height width"] | None = None,
    ) -> Float[Tensor, ""]:
        """Hide, encode, rebuild, and sum the error over all hidden pixels and channels.

        In float32 also under autocast. Sums of micro-batches add up; `masked_mean` divides them by
        the hidden pixels of the whole global batch. `there` is as for `masked_error_per_image`.
        """
        return self._error_sums(images, mask, there).sum()

    def error_per_image(
        self,
        images: Float[Tensor, "batch chans height width"],
        mask: Bool[Tensor, "batch rows cols"],
        there: Bool[Tensor, "batch chans height width"] | None = None,
    ) -> Float[Tensor, " batch"]:
        """Return each image's own loss, for a held-out mean over any split into batches.

        That of an image without a number is 0.
        """
        num_masked_px = mask.sum((1, 2)) * self.mask_patch_size**2  # (batch,)
        if there is not None:
            num_masked_px = hidden_px(masking.to_pixels(mask, self.mask_patch_size), there)
        sums = self._error_sums(images, mask, there)
        return masked_mean(sums, num_masked_px, self.encoder.in_chans)

    def reconstruct(
        self,
        images: Float[Tensor, "batch chans height width"],
        mask: Bool[Tensor, "batch rows cols"],
    ) -> Float[Tensor, "batch chans height width"]:
        """Predict the target at every pixel, hidden or not, from the visible ones."""
        token_mask = masking.to_tokens(mask, self.mask_patch_size // self.encoder.patch_size)
        return self.decoder(self.encoder(images, token_mask))

    def _error_sums(
        self, images: Tensor, mask: Tensor, there: Tensor | None
    ) -> Float[Tensor, " batch"]:
        pixel_mask = masking.to_pixels(mask, self.mask_patch_size)
        rebuilt = self.reconstruct(images, mask)
        return masked_error_per_image(self.target(images), rebuilt, pixel_mask, self.loss, there)
