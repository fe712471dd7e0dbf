"""Pretraining as Lightning sees it: mask, reconstruct, and the loss over the global batch."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssl_swin.data.batches.batch import Batch
from ssl_swin.data.pixels.picture import Stretch
from ssl_swin.models.encoder import pooled, pooled_stages
from ssl_swin.models.losses import masked_error_per_image, masked_mean
from ssl_swin.models.normalise import Normalisation
from ssl_swin.models.simmim import SimMIM
from ssl_swin.record.work import Smaller, work_of
from ssl_swin.training.learner import Learner, Schedule
from ssl_swin.training.masks import Masking
from ssl_swin.training.optim import pretrain_groups
from ssl_swin.training.progressive import Size, resized, share_weights


class Reconstruction(NamedTuple):
    """What a network makes of images, on its device; all as pictures, (batch, 1 or 3, ...)."""

    images: Tensor  # uint8 (batch, 1 or 3, height, width); those of bands are stretched
    pixels: Tensor  # uint8, as the images; where another target is predicted, that, scaled likewise
    target: Tensor  # uint8; the images themselves, unless the target is another
    mask: Tensor  # bool (batch, rows, cols), True where hidden
    loss: Tensor  # (batch,) of each image, over its hidden pixels, or everywhere
    everywhere: bool = False  # whether the loss is taken where nothing is hidden, too


class PretrainModule(Learner):
    """SimMIM; its loss is divided by what is hidden of the whole global batch."""

    network: SimMIM

    def __init__(
        self, simmim: SimMIM, normalise: Normalisation, masking: Masking, schedule: Schedule
    ) -> None:
        super().__init__(simmim, normalise, schedule)
        self.masking = masking
        self.layer_decay = 1.0  # of the rates of layers; 1 for none
        self.sizes: tuple[Size, ...] = ()  # of the first steps, in order; they share the weights
        self._is_shared = False  # whether that is so yet, where the weights are now
        self._num_there: Tensor | None = None  # (heads,), as `_num_counted`, if images lack some

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the groups of pretraining, or those of layers."""
        how = self.schedule.weight_decay, self.layer_decay, self.schedule.quirks.decays_places
        return pretrain_groups(self.network, *how)

    def loss(self, micro: Batch) -> Tensor:
        """Return the masked error of these images over what is hidden of the global batch."""
        images, there = self.normalise(micro["image"]), self.normalise.there(micro["image"])
        network, masking = self._of_step()
        images = resized(images, network.encoder.img_size)
        mask = masking.draw(micro["index"], micro["epoch"], self.step)
        sums = network.error_sums(images, mask, there)
        num: Iterable[Tensor | int] = self._num_counted(network, masking)
        if self._num_there is not None:
            num = self._num_there
        losses = network.means(sums, num)
        if len(losses) > 1:
            self.parts = losses.detach()
        return network.total(losses)

    def _of_step(self) -> tuple[SimMIM, Masking]:
        """Return the network for the images of this step, and their masks."""
        if self.sizes and not self._is_shared:
            for one in self.sizes:
                share_weights(one.network, self.network)
            self._is_shared = True
        return self._at(self.step)

    def _at(self, step: int) -> tuple[SimMIM, Masking]:
        for one in self.sizes:
            if step < one.until_step:
                return one.network, one.masking
        return self.network, self.masking

    def work(self, step: int) -> float:
        """Return what the first steps take, in steps of the largest images, by their pixels."""
        return work_of(step, [Smaller(one.until_step, self._share(one)) for one in self.sizes])

    def points(self) -> dict[str, float]:
        """Return how large the images of the last step were, if they grow."""
        if not self.sizes:
            return {}
        network, _ = self._at(self.step - 1)
        return {"train/img_size": math.sqrt(math.prod(network.encoder.img_size))}

    def _share(self, size: Size) -> float:
        """Return how many pixels smaller images have, of the largest ones'."""
        return math.prod(size.network.encoder.img_size) / math.prod(self.network.encoder.img_size)

    def train_all(self) -> None:
        """Take no step of smaller images any more."""
        self.sizes = ()

    def _num_counted(self, network: SimMIM, masking: Masking) -> list[int]:
        """Positions of a step's global batch that are in the loss of each head."""
        rows, cols = masking.grid
        each = network.positions(masking.num_hidden, rows * cols)
        return [self.schedule.global_batch_size * one for one in each]

    @property
    def part_names(self) -> tuple[str, ...]:
        """What the losses of the heads are called, if there are several."""
        heads = self.network.heads
        return tuple(f"loss_{head.name}" for head in heads) if len(heads) > 1 else ()

    def before_step(self, share: Batch) -> None:
        """Count what is hidden of the global batch, where images may lack some of it."""
        there = self.normalise.there(share["image"])
        if there is None:
            return
        mask = self.masking.draw(share["index"], share["epoch"], self.step)
        counts = self.network.num_counted(mask.to(there.device), there)
        num = torch.stack([one.sum() for one in counts])  # (heads,)
        self._num_there = self.trainer.strategy.reduce(num, reduce_op="sum")

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Return the held-out masked loss, summed over images, with the masks of epoch 0.

        Of several heads each has a sum of its own besides.
        """
        mask = self.masking.draw(batch["index"], epoch=0)
        images, there = self.normalise(batch["image"]), self.normalise.there(batch["image"])
        errors = self.network.errors_per_image(images, mask, there)  # (heads, batch)
        parts = zip(self.part_names, errors, strict=False)
        found = {"heldout_loss": self.network.total(errors).double().sum()}
        return found | {f"heldout_{name}": one.double().sum() for name, one in parts}

    def features(self, images: Tensor) -> Tensor:
        """Return the mean of the last stage over all positions, (batch, channels), nothing hidden.

        Images are as a batch has them, (batch, chans, height, width), on the device.
        """
        encoder = self.network.encoder
        return pooled(encoder, encoder(self.normalise(images)))

    def features_of_stages(self, images: Tensor) -> dict[str, Tensor]:
        """Return the same of each stage, (batch, channels), as `pooled_stages`, and of the last."""
        return pooled_stages(self.network.encoder, self.normalise(images))

    @property
    def can_reconstruct(self) -> bool:
        """Whether anything that is predicted can be shown as a picture."""
        return any(head.target.is_picture for head in self.network.heads)

    def reconstruct(
        self, images: Tensor, index: Tensor, shown: Sequence[int] | None = None
    ) -> Reconstruction:
        """Return what is made of images with the masks of epoch 0, for pictures.

        Of several heads the last one is shown whose target is a picture. Of other numbers than
        colours pictures are of the channels `shown`, as for `Stretch.of`.
        """
        network, normalised = self.network, self.normalise(images)
        there = self.normalise.there(images)
        mask = self.masking.draw(index, epoch=0)
        shows = max(n for n, head in enumerate(network.heads) if head.target.is_picture)
        head, rebuilt = network.heads[shows], network.predict(normalised, mask)[shows]
        mask = mask.to(images.device)
        of, counted = head.target, head.counted(mask, network.mask_patch_size)
        target, known = of(normalised), None if there is None else of.known(there)
        sums = masked_error_per_image(target, rebuilt, counted, head.loss, known)
        num = network.num_counted(mask, there)[shows]

        pixels, cell = self._as_pictures(normalised, there, shown), of.cell_size
        pictures = images if self.normalise.of_colours else pixels(normalised)
        return Reconstruction(
            pictures,
            pixels(_enlarged(rebuilt, cell)),
            pictures if target is normalised else pixels(_enlarged(target, cell)),
            mask,
            masked_mean(sums, num, target.shape[1]),
            head.everywhere,
        )

    def _as_pictures(
        self, normalised: Tensor, there: Tensor | None, shown: Sequence[int] | None
    ) -> Callable[[Tensor], Tensor]:
        """Return what turns normalised numbers into uint8 (batch, 1 or 3, height, width)."""
        if self.normalise.of_colours:
            return lambda numbers: self.normalise.undo(numbers.to(self.normalise.mean.dtype))

        def last(numbers: Tensor) -> np.ndarray:
            numbers = numbers.to(torch.promote_types(numbers.dtype, torch.float32))
            return numbers.permute(0, 2, 3, 1).cpu().numpy()

        some = None if there is None else last(there) > 0
        stretch = Stretch.of(last(normalised), some, shown)
        return lambda numbers: torch.from_numpy(stretch(last(numbers))).permute(0, 3, 1, 2)


def _enlarged(numbers: Tensor, cell_size: int) -> Tensor:
    """Give every pixel the numbers of its cell."""
    return numbers.repeat_interleave(cell_size, 2).repeat_interleave(cell_size, 3)
