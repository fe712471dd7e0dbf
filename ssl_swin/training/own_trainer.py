"""Pretraining for somebody's own loader and Trainer: what Lightning does itself is left to it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from ssl_swin.errors import UserError
from ssl_swin.models.encoder import pooled
from ssl_swin.models.masking import MASKS, grid
from ssl_swin.models.normalise import Normalisation
from ssl_swin.models.simmim import SimMIM
from ssl_swin.pretrained.load import save_encoder
from ssl_swin.training.curve import LearningRateCurve, scaled_lr, set_lr
from ssl_swin.training.masks import Masking
from ssl_swin.training.optim import adamw, pretrain_groups
from ssl_swin.training.trainer import say

Colours = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation
_MOST_IN_BATCH = 1 << 20  # so many numbers are kept for the images of each batch
_SURELY_PIXELS = 20.0  # no normalised value is as large


@dataclass(frozen=True)
class OwnOptim:
    """AdamW and its learning rate, which are SimMIM's; rates are per 512 images of a step."""

    base_lr: float = 2e-4  # after the warm-up
    warmup_lr: float = 1e-6  # at the first step
    min_lr: float = 1e-5  # where the cosine ends
    warmup_ratio: float = 0.1  # share of all steps, in [0, 1)
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    clip_grad: float = 5.0  # largest norm of the gradient, unless the Trainer has gradient_clip_val

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "OwnOptim":
        """Take what was given; UserError if there is no such field."""
        known = [field.name for field in fields(cls)]
        if unknown := given.keys() - {*known}:
            raise UserError(f"unknown {', '.join(sorted(unknown))}; allowed are {', '.join(known)}")
        return cls(**given)


def pretrain_module(
    model: SimMIM | str = "swin_tiny_patch4_window7_224",
    mask_ratio: float = 0.6,
    seed: int = 0,
    mean: tuple[float, ...] = IMAGENET_DEFAULT_MEAN,
    std: tuple[float, ...] = IMAGENET_DEFAULT_STD,
    **optim: Any,
) -> "OwnPretrainModule":
    """Return SimMIM as a LightningModule, for any DataLoader and a plain Trainer.

    Example::

        module = ssl_swin.pretrain_module(ssl_swin.SimMIM.of("swin_tiny_patch4_window7_224"))
        pytorch_lightning.Trainer(max_epochs=10).fit(module, my_loader)
        module.save_encoder("encoder.safetensors")

    A batch is images (batch, channels, height, width) of the model's size, or a list or tuple that
    begins with them, or a dict with "image", as `make_loader` gives. uint8 images are pixels and
    are normalised here; float ones are taken as they are: normalise them with `mean` and `std`.

    What holds as in ``ssl-swin pretrain``: loss, parameter groups, learning rate of every step,
    clipping. A mask is a function of seed, epoch and the image's number, where a batch has "index"
    and "epoch"; else of the Trainer's epoch and the place of the image in it. What does not:
    Lightning's checkpoint goes on at the right step and rate, but no loader of one's own goes on
    where it was, and drop path is drawn anew; a loss that is not finite is not passed over.

    Args:
        model: What is trained; a name stands for ``SimMIM.of(name)``, images of 192 pixels.
        mask_ratio: Share of mask patches that is hidden in each image, in (0, 1).
        seed: Of the masks. For the start weights, torch.manual_seed before the model is built.
        mean: Of each channel, of pixels in [0, 1]; also for the encoder's card.
        std: Of each channel.
        **optim: Fields of `OwnOptim`, such as `base_lr` (2e-4). Rates are per 512 images of a step:
            of all processes, and of all batches that the Trainer accumulates.

    Raises:
        UserError: If there is no such model or option, or mean and std are not of its channels.
    """
    simmim = SimMIM.of(model) if isinstance(model, str) else model
    encoder, size = simmim.encoder, simmim.mask_patch_size
    if not len(mean) == len(std) == encoder.in_chans:
        raise UserError(
            f"mean={mean} and std={std} must each have {encoder.in_chans} numbers, one for each "
            "channel of the model"
        )
    kind = MASKS["none" if simmim.token == "unused" else "random"]
    how = mask_ratio, seed, kind, simmim.leaves_out
    masking = Masking(size, grid(encoder.img_size, size), *how)
    return OwnPretrainModule(simmim, (mean, std), masking, OwnOptim.of(optim))


class OwnPretrainModule(LightningModule):
    """What `pretrain_module` returns; `encoder` is what it trains."""

    def __init__(self, simmim: SimMIM, colours: Colours, masking: Masking, optim: OwnOptim) -> None:
        super().__init__()
        self.network, self.normalise = simmim, Normalisation(*colours)
        self.colours, self.masking, self.optim = colours, masking, optim
        self._curve: LearningRateCurve | None = None

    @property
    def encoder(self) -> Any:
        """The encoder that is trained, an `nn.Module`."""
        return self.network.encoder

    def forward(self, batch: Any) -> Tensor:
        """Return the features of a batch, (batch, num_features), as `load_encoder`'s module."""
        return pooled(self.encoder, self.encoder(self._images(batch)))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the mean loss over this process's images; logs `train_loss` and `lr`."""
        images = self._images(batch)
        if self._curve is None:
            self._begin(batch, images)
        assert self._curve is not None
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        rate = set_lr(optimizer, self._curve, self.global_step)
        loss = self.network(images, self._mask(batch, batch_idx, len(images)))
        self.log("train_loss", loss, prog_bar=True, batch_size=len(images))
        self.log("lr", rate, batch_size=len(images))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log `val_loss`, over held-out images with masks of epoch 0."""
        images = self._images(batch)
        mask = self._mask(batch, batch_idx, len(images), epoch=0)
        loss = self.network.error_per_image(images, mask).mean()
        self.log("val_loss", loss, prog_bar=True, batch_size=len(images), sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW over the official groups; `training_step` sets the rate of each step."""
        groups, optim = pretrain_groups(self.network, self.optim.weight_decay), self.optim
        # Lightning's scaler for fp16 cannot clip what a fused optimiser unscales.
        fused = self.trainer.precision != "16-mixed"
        return adamw(groups, optim.base_lr, optim.betas, fused)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as the Trainer says, or else the norm, to `clip_grad`."""
        val = self.optim.clip_grad if gradient_clip_val is None else gradient_clip_val
        self.clip_gradients(optimizer, val, gradient_clip_algorithm)

    def on_train_end(self) -> None:
        """Forget the curve: another `fit` may have another number of steps."""
        self._curve = None

    def save_encoder(self, path: str | Path) -> None:
        """Write the encoder as it is, with its card, for `load_encoder` and ``ssl-swin finetune``.

        The path ends in ``.safetensors``.
        """
        mask = self.masking
        save_encoder(
            self.encoder,
            path,
            *self.colours,
            mask_patch_size=mask.mask_patch_size,
            mask_ratio=0.0 if self.network.token == "unused" else mask.mask_ratio,
        )

    def _begin(self, batch: Any, images: Tensor) -> None:
        """Lay out the learning rate of all steps, and look at what the first images are."""
        trainer = self.trainer
        num_steps = trainer.estimated_stepping_batches
        if num_steps == float("inf"):
            raise UserError(
                "the Trainer has no last step, and the learning rate falls until then: give it "
                "max_steps, or max_epochs and a loader that has a length"
            )
        step_images = len(images) * trainer.world_size * trainer.accumulate_grad_batches
        optim = self.optim
        self._curve = LearningRateCurve(
            total_steps=int(num_steps),
            base_lr=scaled_lr(optim.base_lr, step_images),
            warmup_steps=int(optim.warmup_ratio * num_steps),
            warmup_lr=scaled_lr(optim.warmup_lr, step_images),
            min_lr=scaled_lr(optim.min_lr, step_images),
        )
        given = _pick(batch)
        low, high = given.min().item(), given.max().item()
        if given.is_floating_point() and low >= 0:
            told = f"float images from {low:.3g} to {high:.3g} are not normalised"
            if high > _SURELY_PIXELS:
                raise UserError(f"{told}: hand over uint8, or (image / 255 - mean) / std")
            say(f"warning: {told}: hand over uint8, or (image - mean) / std")

    def _images(self, batch: Any) -> Tensor:
        """Return the images of a batch, normalised."""
        images = _pick(batch)
        return self.normalise(images) if images.dtype == torch.uint8 else images

    def _mask(self, batch: Any, batch_idx: int, num: int, epoch: int | None = None) -> Tensor:
        """Return masks by the images' numbers; where they have none, by their place in the epoch.

        Without an `epoch` it is the batch's, or the Trainer's.
        """
        known = batch if isinstance(batch, Mapping) else {}
        place = batch_idx * self.trainer.world_size + self.global_rank
        counted = torch.arange(num, device=self.device) + place * _MOST_IN_BATCH
        index = known.get("index", counted)
        if epoch is not None:
            return self.masking.draw(index, epoch)
        of = known.get("epoch", self.current_epoch)
        return self.masking.draw(index, of, self.trainer.global_step)


def _pick(batch: Any) -> Tensor:
    """Return the images of a batch of any form that is known."""
    images = batch
    if isinstance(batch, Mapping):
        images = batch.get("image")
    elif isinstance(batch, list | tuple) and batch:
        images = batch[0]
    if not isinstance(images, Tensor) or images.ndim != 4:
        told = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise UserError(
            f"a batch whose images are {told}; allowed are a tensor (batch, channels, height, "
            'width), a list or tuple that begins with one, and a dict with one under "image"'
        )
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise UserError(f"images are {images.dtype}; allowed are uint8 and float, normalised")
    return images
