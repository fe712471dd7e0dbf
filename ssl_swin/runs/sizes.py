"""What a config amounts to, in plain numbers: for a run that is built and one that is queued.

Only counting the network imports torch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssl_swin.config.data import DataConfig, LabelledDataConfig
from ssl_swin.config.run import FinetuneConfig, PretrainConfig, RunConfig
from ssl_swin.data.batches.labels import Labels
from ssl_swin.data.batches.targets import Targets
from ssl_swin.data.open import open_shards
from ssl_swin.data.order.lanes import Dealing, Order
from ssl_swin.data.order.open import open_order
from ssl_swin.data.pixels.decode import sides
from ssl_swin.data.shards.given import SINGLE
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import UserError
from ssl_swin.machine import FACTS_BYTES, LoaderNeeds
from ssl_swin.record.lives import last_step
from ssl_swin.record.run_folder import RunFolder

FEWEST_POINTS = 10  # of a run's curves, where it has so many steps
# Images that monitors look at, in those that are trained on meanwhile: a look at one takes a third
# of what a step takes for it, so 4 % are 1.3 % of the time, and the rest is for what is done once.
MONITORED_SHARE = 0.04
FEWEST_MONITORED, MOST_MONITORED = 256, 2048  # of a set, if it has so many


@dataclass(frozen=True)
class Sizes:
    """How the images of a run become steps."""

    num_images: int
    """Training images there are to draw from."""
    num_lanes: int
    shares: tuple[int, ...]
    """Images of each process at each step."""
    num_micro_batches: int
    """Micro-batches that each share is cut into."""
    global_batch_size: int
    steps_per_epoch: int
    stop_step: int
    """The step the run ends at."""


class DiskNeeds(NamedTuple):
    """The checkpoints that a run has still to make room for."""

    num_files: int
    file_bytes: int
    source: str
    """How the bytes are known."""


def open_sets(data: DataConfig, index_missing: bool = True) -> list[ShardSet]:
    """Open the training sets, of which there is one without `data.sets`.

    Raises:
        ShardError: If shards are missing, or an index is and may not be made.
    """
    return [open_set(data, pattern, index_missing) for pattern in data.patterns]


def open_set(data: DataConfig, pattern: str, index_missing: bool = True) -> ShardSet:
    """Open one of the sets of a run, as `open_sets` does."""
    cache_dir = None if data.cache_dir is None else Path(data.cache_dir)
    return open_shards(pattern, cache_dir, data.cache_gb, index_missing)


def labels_of(
    config: RunConfig, renumber: tuple[int, ...] | None = None
) -> Labels | Targets | None:
    """Return where the labels of one of a run's sets come from; None if it needs none.

    `renumber` holds the run's number of each class of the set, if it is another one.
    """
    if isinstance(config, FinetuneConfig) and config.task != SINGLE:
        return Targets(config.task, config.counted_classes, renumber)
    if isinstance(config, FinetuneConfig):
        return Labels(config.counted_classes, config.data.label_field, renumber)
    return None


def order_of(
    config: RunConfig,
    sets: list[ShardSet],
    places: np.ndarray | None = None,
    classes: np.ndarray | None = None,
) -> Order:
    """Return which images a run reads at which step.

    With `data.num_labels`, `places` are the labelled images, int64 (num_labels,); with
    `data.sampling=balanced`, `classes` are those of the images, int64 (images,). Without them the
    order has the right sizes, and other images or none.

    Raises:
        UserError: If the images do not fit the global batch and its lanes.
    """
    data, counts = config.data, tuple(one.counts for one in sets)
    if isinstance(data, LabelledDataConfig) and data.num_labels is not None:
        counts = (np.array([data.num_labels]),)
    elif (known := labelled_places(sets)) is not None:
        counts, places = (np.array([len(known)]),), known
    batch_size = config.training.global_batch_size
    dealing = Dealing(config.seed, batch_size, data.num_lanes, data.block_size)
    weights = tuple(one.weight for one in data.sets)
    return open_order(counts, dealing, weights, data.samples_per_epoch, places, classes)


def labelled_places(sets: list[ShardSet]) -> np.ndarray | None:
    """Return the places of the images that have a label, int64 (number,); None if all have one.

    Raises:
        UserError: If there are several sets, which are drawn from as they are.
    """
    short = [one for one in sets if one.given is not None and one.given.missing.any()]
    if not short:
        return None
    if len(sets) > 1:
        raise UserError(
            f"{short[0].storage.where(0)} and its set have images without a label, and all of "
            "data.sets are drawn; give data.shards, or label them all"
        )
    assert short[0].given is not None
    return np.flatnonzero(~short[0].given.missing)


def num_labelled(shards: ShardSet) -> int:
    """Count the images of a labelled set that have a label; all, but for what a file leaves out."""
    return shards.num_samples if shards.given is None else shards.given.num_known


def count_steps(config: RunConfig, order: Order, world_size: int) -> Sizes:
    """Count the steps of a run on `world_size` processes, and what it does at each.

    Raises:
        UserError: If there are more processes than lanes.
    """
    return Sizes(
        num_images=order.num_samples,
        num_lanes=order.num_lanes,
        shares=tuple(order.share_size(rank, world_size) for rank in range(world_size)),
        num_micro_batches=order.num_micro_batches(config.training.micro_batch_size, world_size),
        global_batch_size=order.global_batch_size,
        steps_per_epoch=order.steps_per_epoch,
        stop_step=config.optim.epochs * order.steps_per_epoch,
    )


def steps_between_points(config: RunConfig, sizes: Sizes) -> int:
    """Return after how many steps a point is logged: as asked, but `FEWEST_POINTS` in all."""
    return min(config.training.log_every_steps, max(1, sizes.stop_step // FEWEST_POINTS))


class MonitorPlan(NamedTuple):
    """When monitors look at features, and of how many images of each set."""

    every_steps: int
    num_images: tuple[int, ...]


def plan_monitors(config: RunConfig, sizes: Sizes, available: Sequence[int]) -> MonitorPlan | None:
    """Return how often and at how many images a pretraining looks; None if it does not.

    It does not depend on the number of processes. The last look is where the run ends. All looks
    take `MONITORED_SHARE` of the images that are trained on, at most; where that gives too few
    images, it looks less often, and once in a run that is too short.

    Args:
        config: Of the run.
        sizes: Of the run.
        available: Images of each set that is looked at.
    """
    every, epochs = config.training.monitor_every_epochs, config.optim.epochs
    if not every or not isinstance(config, PretrainConfig):
        return None
    share = MONITORED_SHARE * sizes.global_batch_size * sizes.stop_step
    fewest = sum(min(num, FEWEST_MONITORED) for num in available)
    while every < epochs and share / math.ceil(epochs / every) < fewest:
        every += 1
    each = int(share / math.ceil(epochs / every)) // len(available)
    num_images = tuple(min(num, MOST_MONITORED, max(each, FEWEST_MONITORED)) for num in available)
    return MonitorPlan(every * sizes.steps_per_epoch, num_images)


def machine_needs(config: RunConfig, share_size: int, processes: int) -> LoaderNeeds:
    """Count what the loaders of `processes` with shares of that size take on one machine."""
    data, training = config.data, config.training
    measures = data.val_shards is not None or training.monitor_every_epochs > 0
    num_images = share_size + (training.micro_batch_size if measures else 0)
    rows, cols = sides(config.model.img_size)
    pixel_bytes = len(data.mean) * np.dtype(data.dtype or np.uint8).itemsize
    image_bytes = pixel_bytes * rows * cols + FACTS_BYTES
    return LoaderNeeds(processes, data.num_workers, num_images * image_bytes)


def disk_needs(config: RunConfig, sizes: Sizes, checkpoint_bytes: int) -> DiskNeeds:
    """Count the checkpoints that a run has still to make room for.

    The last one tells the size of the next; a new run's have `checkpoint_bytes`.
    """
    folder = RunFolder(Path(config.run_dir))
    size, source = checkpoint_bytes, "counted from the network"
    if folder.last.is_file():
        size, source = folder.last.stat().st_size, "the size of the last one"
    files, every = 1, config.training.keep_every_epochs  # one is written before one goes
    if every:
        files += config.optim.epochs // every - last_step(folder) // sizes.steps_per_epoch // every
    stay = [folder.last, folder.previous]
    if isinstance(config, FinetuneConfig) or config.training.best != "none":
        stay.append(folder.best)
    return DiskNeeds(files + sum(not path.is_file() for path in stay), size, source)


def count_checkpoint_bytes(config: RunConfig, taught_by: RunConfig | None = None) -> int:
    """Build the network without memory for its weights, and count a checkpoint of it.

    `taught_by` is the run that has still to make its teacher, if it has such a one.

    Raises:
        UserError: If there is no such network, or it does not fit the images, of any of its sizes,
            or the masks.
    """
    # late, for speed: torch takes longer than all other checks of a job
    from ssl_swin.runs.network import checkpoint_bytes, without_weights

    network = without_weights(config, taught_by)
    if config.training.precision == "fp64":
        network.double()
    return checkpoint_bytes(network, config)
