"""A few fixed images, and what a network that is being trained makes of them, on all ranks."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float
from pytorch_lightning import Trainer
from torch import Tensor

from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.pixels.decode import sides
from ssl_swin.training.pretrain import PretrainModule
from ssl_swin.training.waiting import patiently
from ssl_swin.training.watchdog import beat


class FixedImages:
    """Images of a set, of which each rank reads its share once in a life and keeps it, in bytes.

    Args:
        stream: Of the set; in the form of evaluation, which draws nothing.
        place: Of the images in their set, int64 (n,); two or more.
        batch_size: Most images that go through the network at once.
        label: The class of each, int64 (n,), where it is known.
    """

    def __init__(
        self,
        stream: ImageStream,
        place: np.ndarray,
        batch_size: int,
        label: np.ndarray | None = None,
    ) -> None:
        self.stream, self.place, self.batch_size, self.label = stream, place, batch_size, label
        self._kept: list[tuple[Tensor, Tensor]] | None = None  # images, and their rows of the n

    def __len__(self) -> int:
        return len(self.place)

    def read(self, trainer: Trainer, look: Callable[[], None]) -> None:
        """Read this rank's share, if it is not there.

        `look` is called now and then, and may raise; then nothing is kept.
        """
        if self._kept is not None:
            return
        rank, world_size, kept = trainer.global_rank, trainer.world_size, []
        rows = torch.arange(len(self))[rank::world_size].split(self.batch_size)
        loader = trainer.datamodule.once(self.stream, self.place, self.batch_size)
        with torch.random.fork_rng(devices=[]):  # a loader draws a number that nothing uses
            batches = patiently(loader, look)
            for batch, some in zip(batches, rows, strict=False):  # of no batch, no row is one part
                good = batch["replaced"] < 0
                kept.append((batch["image"][good], some[good]))
                beat()
        self._kept = kept

    def features(
        self, trainer: Trainer, module: PretrainModule, look: Callable[[], None]
    ) -> tuple[dict[str, Float[Tensor, "n _"]], Bool[Tensor, " n"]]:
        """Return features of each stage, as `features_of_stages`, and which images can be decoded.

        They are whole on every rank, in the order of the images. All ranks use the network equally
        often, and call `look` before, which may raise on all of them at once.
        """
        assert self._kept is not None
        device, num_batches = module.device, -(-len(self) // trainer.world_size)
        found, parts = torch.empty(0), {}
        for number in range(-(-num_batches // self.batch_size)):
            look()
            images, rows = self._batch(number)
            parts = module.features_of_stages(images.to(device))
            some = torch.cat([*parts.values()], dim=1)  # (batch, channels of all)
            some = some.to(torch.promote_types(some.dtype, torch.float32))
            if not found.numel():  # the last column tells which rows are there
                found = some.new_zeros(len(self), some.shape[1] + 1)
            if len(rows):
                found[rows.to(device)] = torch.cat([some, torch.ones_like(some[:, :1])], dim=1)
            beat()
        found = trainer.strategy.reduce(found, reduce_op="sum")
        columns = found[:, :-1].split([one.shape[1] for one in parts.values()], dim=1)
        return dict(zip(parts, columns, strict=True)), found[:, -1] > 0

    def _batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Return images and their rows; one black image without a row, if this rank has none."""
        assert self._kept is not None
        for images, rows in self._kept[number : number + 1]:
            if len(rows):
                return images, rows
        shape = 1, self.stream.in_chans, *sides(self.stream.img_size)
        dtype = self.stream.renderer.torch_dtype
        return torch.zeros(shape, dtype=dtype), torch.empty(0, dtype=torch.int64)
