"""What a config amounts to, in plain numbers: for a run that is built and one that is queued.

Only counting the network imports torch.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ssl_swin.config.data import DataConfig, LabelledDataConfig
from ssl_swin.config.run import FinetuneConfig, RunConfig
from ssl_swin.data.batches.labels import Labels
from ssl_swin.data.open import open_shards
from ssl_swin.data.order.lanes import Dealing, Order
from ssl_swin.data.order.open import open_order
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.machine import Needs

_FACTS_BYTES = 4 * 8  # of an image in a batch: index, epoch, replaced, label


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


@dataclass(frozen=True)
class NetworkSizes:
    """How large the network of a run is."""

    num_parameters: int
    checkpoint_bytes: int
    """Weights and AdamW's two moments, in the precision trained; a file has a little more."""


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


def labels_of(config: RunConfig) -> Labels | None:
    """Return where the labels of a run come from; None if it needs none."""
    if isinstance(config, FinetuneConfig):
        return Labels(config.num_classes, config.data.label_field)
    return None


def check_labels(
    config: RunConfig,
    sets: list[ShardSet],
    heldout: ShardSet | None,
    renumber: tuple[int, ...] | None = None,
) -> list[str]:
    """Look at every label of a run's sets beforehand; return what is to be said.

    `renumber` holds the model's number of each class of the held-out set, if it is another one.

    Raises:
        UserError: If a sample has no label, or one that is no class of the model.
    """
    labels = labels_of(config)
    if labels is None:
        return []
    said = [labels.check(one, "training") for one in sets]
    if heldout is not None:
        said.append(replace(labels, renumber=renumber).check(heldout, "held-out"))
    return [line for line in said if line is not None]


def order_of(config: RunConfig, sets: list[ShardSet], places: np.ndarray | None = None) -> Order:
    """Return which images a run reads at which step.

    With `data.num_labels`, `places` are the labelled images, int64 (num_labels,); without them the
    order has the right sizes and no images.

    Raises:
        UserError: If the images do not fit the global batch and its lanes.
    """
    data, counts = config.data, tuple(one.counts for one in sets)
    if isinstance(data, LabelledDataConfig) and data.num_labels is not None:
        counts = (np.array([data.num_labels]),)
    batch_size = config.training.global_batch_size
    dealing = Dealing(config.seed, batch_size, data.num_lanes, data.block_size)
    weights = tuple(one.weight for one in data.sets)
    return open_order(counts, dealing, weights, data.samples_per_epoch, places)


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


def machine_needs(config: RunConfig, share_size: int, processes: int) -> Needs:
    """Count what the loaders of `processes` with shares of that size take on one machine."""
    data, held_out = config.data, config.data.val_shards is not None
    num_images = share_size + (config.training.micro_batch_size if held_out else 0)
    image_bytes = len(data.mean) * config.model.img_size**2 + _FACTS_BYTES
    return Needs(processes, data.num_workers, num_images * image_bytes)


def count_network(config: RunConfig) -> NetworkSizes:
    """Build the network without memory for its weights, and count them.

    Raises:
        UserError: If there is no such network, or it does not fit the images or the masks.
    """
    import torch  # late, for speed: it takes longer than all other checks of a job

    from ssl_swin.runs.network import build_network  # late, for it imports torch

    with torch.device("meta"):
        network = build_network(config)
    if config.training.precision == "fp64":
        network.double()
    parameters = list(network.parameters())
    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    moments = 2 * sum(one.nbytes for one in parameters if one.requires_grad)
    return NetworkSizes(sum(one.numel() for one in parameters), weights + moments)
