"""What a step of a run takes, found with as few images as tell it."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer

from ssl_swin.data.batches.batch import Batch
from ssl_swin.data.order.lanes import Share
from ssl_swin.runs.build import Run
from ssl_swin.runs.out_of_memory import largest_micro_batch
from ssl_swin.training.clock import WARM_UP, timed_step
from ssl_swin.training.learner import Learner
from ssl_swin.training.memory import Peak, largest_peak

_MOST = 20  # steps that are timed together
_NUM_READ = 64  # images that are read; larger batches repeat them


@dataclass(frozen=True)
class Tried:
    """Steps of one size that were taken."""

    num_images: int  # of each process
    micro_batch: int  # of them that go through the network at once
    step_s: float  # of the slowest process
    num_steps: int  # that were timed
    peak: Peak  # so far, of the process that held most


class FewImages(Callback):
    """Takes a few small steps, and foretells from them what a whole step takes; every rank does.

    On a GPU one micro-batch is timed, and then two: gradients are there while the second one goes
    forward, and each further one takes what the second one took. On a CPU a micro-batch may take
    minutes. So one image is timed, and then as many of a micro-batch as take about `seconds`: each
    further one takes as much time and memory as between these two.

    The first step is Lightning's own, of the batch `first`; the others are taken after it.
    """

    def __init__(self, run: Run, seconds: float) -> None:
        self.run, self.seconds = run, seconds
        self.share, self.micro_batch = max(run.sizes.shares), largest_micro_batch(run)
        self.tried: list[Tried] = []

    def first(self) -> Batch:
        """Return the batch to begin with, and make the module's step fit it."""
        self._cut(1)
        self.run.module.train_all()
        return batch_of(self.run, self.micro_batch if self.run.on_gpu else 1)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Learner, _outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Take the other steps."""
        small = len(batch["index"])
        self._try(trainer, batch, small, WARM_UP.get(pl_module.device.type, 1) - 1)
        num_micro, size = self._next_size(self.tried[0].step_s)
        if num_micro * size > small:
            self._cut(num_micro)
            more = batch_of(self.run, min(num_micro * size, self.share))
            device, take_over = trainer.strategy.root_device, trainer.datamodule
            self._try(trainer, take_over.transfer_batch_to_device(more, device, 0), size, 0)

    @property
    def is_whole(self) -> bool:
        """Whether a whole step was taken, so that nothing is foretold."""
        return self.tried[-1].num_images >= self.share

    def step_s(self) -> float:
        """Return the seconds of a whole step."""
        first, last = self.tried[0], self.tried[-1]
        if self.is_whole or len(self.tried) == 1:
            return last.step_s * self.share / last.num_images
        each = (last.step_s - first.step_s) / (last.num_images - first.num_images)
        each = each if each > 0 else last.step_s / last.num_images
        return last.step_s + each * (self.share - last.num_images)

    def peak(self) -> Peak:
        """Return the peak of a whole step."""
        first, last = self.tried[0], self.tried[-1]
        further = self.micro_batch - last.micro_batch
        if not further:
            return last.peak
        lacking = max(1, last.micro_batch - first.micro_batch)
        gradients = sum(one.nbytes for one in self.run.module.parameters() if one.requires_grad)
        gradients *= self.run.sizes.num_micro_batches > 1  # they stay while the next goes forward
        return {
            name: int(value + gradients + max(0, value - first.peak[name]) / lacking * further)
            for name, value in last.peak.items()
        }

    def _next_size(self, one_s: float) -> tuple[int, int]:
        """Return how many micro-batches to take next, and of how many images."""
        most = min(2, self.run.sizes.num_micro_batches)
        if self.run.on_gpu or most * self.micro_batch * one_s <= self.seconds:
            return most, self.micro_batch
        return 1, min(self.micro_batch, max(2, int(self.seconds / one_s)))

    def _try(self, trainer: Trainer, batch: Batch, micro_batch: int, warm_up: int) -> None:
        take = partial(trainer.strategy.training_step, batch, 0)
        for _ in range(warm_up):
            take()
        one_s, num = timed_step(trainer, take, 1), 1
        if (more := min(_MOST, int(self.seconds / one_s) - 1)) > 0:  # the first one set things up
            one_s, num = timed_step(trainer, take, more), more
        found = Tried(len(batch["index"]), micro_batch, one_s, num, largest_peak(trainer))
        self.tried.append(found)

    def _cut(self, num_micro_batches: int) -> None:
        module = self.run.module
        module.schedule = replace(module.schedule, num_micro_batches=num_micro_batches)


def batch_of(run: Run, num: int) -> Batch:
    """Return so many images of the first share; what they show makes no difference."""
    share = run.order.share(run.module.step, 0, len(run.sizes.shares))
    index = share.index[: min(num, _NUM_READ)]
    epoch = share.epoch if isinstance(share.epoch, int) else share.epoch[: len(index)]
    place = torch.arange(num) % len(index)
    read = run.stream.read(Share(epoch, index))
    return {name: value[place] for name, value in read.items()}
