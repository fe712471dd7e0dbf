"""SimMIM on a page: hide patches, encode what is left, predict what was hidden."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor, nn

from ssl_swin.models import masking
from ssl_swin.models.encoder import Encoder, PoolsItself, build_encoder
from ssl_swin.models.heads import Head, make_decoders, taps
from ssl_swin.models.hiding import Token, painted, require_leaving_out, the_one_of
from ssl_swin.models.lookup import look_up
from ssl_swin.models.losses import Loss, hidden_px, l1, masked_error_per_image, masked_mean
from ssl_swin.models.targets import TARGETS, Target
from ssl_swin.models.targets.pixels import unchanged
from ssl_swin.models.targets.target import as_target


class SimMIM(nn.Module):
    """Predict of the hidden pixels of normalised images what the visible ones tell.

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
        target: Target | Callable[[Tensor], Tensor] = unchanged,
        loss: Loss = l1,
        heads: Sequence[Head] = (),
        token: Token = "embedded",
    ) -> None:
        """Put a decoder on an encoder; `TARGETS` makes the target, and `LOSSES` has the loss.

        A target that is a plain function is one of pixels. With `heads`, what these say is
        predicted instead, each by a decoder of its own. `token` says what stands for what is
        hidden: the encoder's mask token, or a colour that is painted on the pixels, or none: then
        the encoder leaves it out, and all images of a batch must have one mask. Where that is
        unused, the encoder sees all whatever the mask, and losses are taken everywhere. What the
        encoder never uses here, such as for vectors alone, is frozen: it would get no gradient.

        Raises:
            UserError: If mask patches, in pixels, do not fit the encoder's image and patch sizes,
                or heads do not fit its stages.
        """
        super().__init__()
        masking.check_mask_patch_size(encoder.img_size, encoder.patch_size, mask_patch_size)
        self.encoder, self.mask_patch_size = encoder, mask_patch_size
        self.token, self.leaves_out = token, token == "none"
        self.pixel_token: nn.Parameter | None = None
        unused = encoder.pool_parameters() if isinstance(encoder, PoolsItself) else set()
        if token == "pixels":
            self.pixel_token = nn.Parameter(torch.zeros(encoder.in_chans))
        if token != "embedded":
            unused = unused | encoder.mask_parameters()
        if self.leaves_out:
            require_leaving_out(encoder, mask_patch_size)
        for name in unused:
            encoder.get_parameter(name).requires_grad_(False)
        self.heads = tuple(heads) or (Head(as_target(target), loss),)
        if token == "unused":
            self.heads = tuple(head._replace(everywhere=True) for head in self.heads)
        decoders = make_decoders(encoder, self.heads, mask_patch_size, self.leaves_out)
        if [head.stage for head in self.heads] == [None]:
            self.decoder = decoders[0]  # under the name that it has in every checkpoint
        else:
            self.decoders = nn.ModuleList(decoders)

    def all_decoders(self) -> Iterable[Any]:
        """Return the decoder of each head."""
        return self.decoders if hasattr(self, "decoders") else [self.decoder]

    @property
    def target(self) -> Target:
        """The target, of several heads the first one's."""
        return self.heads[0].target

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
            target: What is predicted, of `TARGETS`: "pixels", "normalised_pixels",
                "normalised_patches", "coarse_pixels" or "hog".
            **sizes: Other arguments of `build_encoder`, such as `window_size` (6 is usual for 192
                pixels), `embed_dim`, `depths`, `num_heads`, `drop_path_rate`.

        Raises:
            UserError: If there is no such encoder or target, or sizes do not fit each other.
        """
        make_target = look_up(TARGETS, "target", target)
        encoder = build_encoder(name, img_size, in_chans, **sizes)
        return cls(encoder, mask_patch_size, make_target(stride=encoder.stride))

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
        if self.leaves_out:
            return masking.random_mask(index[:1].cpu(), 0, seed, grid, hidden).expand(
                len(index), -1, -1
            )
        return masking.random_mask(index, epoch, seed, grid, hidden)

    def forward(
        self,
        images: Float[Tensor, "batch chans height width"],
        mask: Bool[Tensor, "batch rows cols"],
    ) -> Float[Tensor, ""]:
        """Return the loss: the mean error over all hidden pixels and channels of the batch.

        Of several heads it is the sum, by their weights. In float32 also under autocast. Of a head
        everywhere, here and below, positions that are visible count as if they were hidden.
        """
        num = [one.sum() for one in self.num_counted(mask)]
        return self.total(self.means(self.error_sums(images, mask), num))

    def error_sum(
        self,
        images: Float[Tensor, "batch chans height width"],
        mask: Bool[Tensor, "batch rows cols"],
        there: Bool[Tensor, "batch chans height width"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return `error_sums` of the only head, or of several the first one's."""
        return self.error_sums(images, mask, there)[0]

    def error_sums(
        self,
        images: Float[Tensor, "batch chans height width"],
        mask: Bool[Tensor, "batch rows cols"],
        there: Bool[Tensor, "batch chans height width"] | None = None,
    ) -> Float[Tensor, " heads"]:
        """Hide, encode, rebuild, and sum each head's error over its hidden positions and channels.

        In float32 also under autocast. Sums of micro-batches add up; `means` divides them by the
        hidden positions of the whole global batch. `there` is False where an image holds no number.
        """
        return torch.stack([one.sum() for one in self._error_sums(images, mask, there)])

    def error_per_image(
        self,
        images: Float[Tensor, "batch chans height width"],
        mask: Bool[Tensor, "batch rows cols"],
        there: Bool[Tensor, "batch chans height width"] | None = None,
    ) -> Float[Tensor, " batch"]:
        """Return each image's own loss, for a held-out mean over any split into batches.

        That of an image without a number is 0.
        """
        return self.total(self.errors_per_image(images, mask, there))

    def errors_per_image(
        self,
        images: Float[Tensor, "batch chans height width"],
        mask: Bool[Tensor, "batch rows cols"],
        there: Bool[Tensor, "batch chans height width"] | None = None,
    ) -> Float[Tensor, "heads batch"]:
        """Return the same of each head, without its weight."""
        sums = self._error_sums(images, mask, there)
        return self.means(sums, self.num_counted(mask.to(images.device), there))

    def num_counted(
        self,
        mask: Bool[Tensor, "batch rows cols"],
        there: Bool[Tensor, "batch chans height width"] | None = None,
    ) -> list[Shaped[Tensor, " batch"]]:
        """Count each image's positions that are in the loss and hold a number, for each head."""
        if there is None:
            hidden = mask.sum((1, 2))
            each = self.positions(hidden, mask.shape[1] * mask.shape[2])
            return [torch.zeros_like(hidden) + one for one in each]
        counted = [head.counted(mask, self.mask_patch_size) for head in self.heads]
        known = [head.target.known(there) for head in self.heads]
        return [hidden_px(*one) for one in zip(counted, known, strict=True)]

    def positions(self, num_hidden: Any, num_patches: int) -> list[Any]:
        """Return how many positions of an image are in the loss of each head.

        Hidden mask patches, a number or one for each image, are of so many.
        """
        size = self.mask_patch_size
        return [head.num_counted(num_hidden, num_patches, size) for head in self.heads]

    def means(self, sums: Iterable[Tensor], num_hidden: Iterable[Tensor | int]) -> Tensor:
        """Divide each head's sums by its positions and channels."""
        chans = [head.target.num_chans(self.encoder.in_chans) for head in self.heads]
        return torch.stack([masked_mean(*one) for one in zip(sums, num_hidden, chans, strict=True)])

    def total(self, losses: Float[Tensor, "heads ..."]) -> Float[Tensor, "..."]:
        """Add up the losses of all heads, each by its weight."""
        if len(self.heads) == 1 and self.heads[0].weight == 1:
            return losses[0]
        pairs = zip(self.heads, losses, strict=True)
        return torch.stack([head.weight * loss for head, loss in pairs]).sum(0)

    def reconstruct(
        self,
        images: Float[Tensor, "batch chans height width"],
        mask: Bool[Tensor, "batch rows cols"],
    ) -> Float[Tensor, "batch num_chans target_rows target_cols"]:
        """Predict the target everywhere, hidden or not, from what is visible; of the first head."""
        return self.predict(images, mask)[0]

    def predict(
        self,
        images: Float[Tensor, "batch chans height width"],
        mask: Bool[Tensor, "batch rows cols"],
    ) -> list[Float[Tensor, "batch _ _ _"]]:
        """Predict the target of each head everywhere, from what is visible.

        Raises:
            ValueError: If hidden tokens are to be left out, and images have different masks.
        """
        if self.leaves_out:
            return self._predict_from_visible(images, mask)
        token_mask: Tensor | None = None
        if self.token == "embedded":
            token_mask = masking.to_tokens(mask, self.mask_patch_size // self.encoder.patch_size)
        elif self.pixel_token is not None:
            images = painted(images, mask, self.mask_patch_size, self.pixel_token)
        if not hasattr(self, "decoders"):
            return [self.decoder(self.encoder(images, token_mask))]
        maps = taps(self.encoder, self.heads, images, token_mask)
        return [decoder(one) for decoder, one in zip(self.decoders, maps, strict=True)]

    def _predict_from_visible(self, images: Tensor, mask: Tensor) -> list[Tensor]:
        """Predict where the encoder leaves out what is hidden; a mask on the CPU is not waited for.

        Source:
            MAE, section 3 (arXiv:2111.06377); for a Swin GreenMIM (arXiv:2205.13515).
        """
        one_mask, size = the_one_of(mask), self.mask_patch_size
        token_mask = masking.to_tokens(one_mask, size // self.encoder.patch_size)[0]
        maps, predictions = taps(self.encoder, self.heads, images, token_mask), []
        for decoder, one in zip(self.all_decoders(), maps, strict=True):
            hidden = masking.to_cells(one_mask, size, images.shape[2] // one.shape[2])[0]
            predictions.append(decoder(one, hidden.to(images.device, non_blocking=True)))
        return predictions

    def _error_sums(
        self, images: Tensor, mask: Tensor, there: Tensor | None
    ) -> list[Float[Tensor, " batch"]]:
        predictions, sums = self.predict(images, mask), []
        mask = mask.to(images.device, non_blocking=True)
        targets: dict[Target, Tensor] = {}  # heads may share one
        for head, prediction in zip(self.heads, predictions, strict=True):
            if head.target not in targets:
                targets[head.target] = head.target(images)
            known = None if there is None else head.target.known(there)
            counted, target = head.counted(mask, self.mask_patch_size), targets[head.target]
            sums.append(masked_error_per_image(target, prediction, counted, head.loss, known))
        return sums
