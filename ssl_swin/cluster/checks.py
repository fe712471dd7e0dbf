"""What would fail after hours in the queue is found before: shards, world size, disk, folder."""

import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssl_swin.cluster.options import seconds
from ssl_swin.cluster.queue import look_up
from ssl_swin.config.run import (
    DataConfig,
    FinetuneConfig,
    LabelledDataConfig,
    RunConfig,
    differences,
    flatten,
)
from ssl_swin.data.order.lanes import Dealing, Order, rank_lanes
from ssl_swin.data.order.open import open_order
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.record.run_folder import (
    RunFolder,
    last_step,
    read_json,
    read_lines,
    require_same_shards,
)

# Channels of the first stage and blocks of each, of the Swins that the paper names.
_SIZES = {
    "swin_tiny": (96, (2, 2, 6, 2)),
    "swin_small": (96, (2, 2, 18, 2)),
    "swin_base": (128, (2, 2, 18, 2)),
    "swin_large": (192, (2, 2, 18, 2)),
}
_BYTES_PER_PARAMETER = 12  # float32 weights and AdamW's two moments

ReadConfig = Callable[[str, Path], RunConfig]


@dataclass(frozen=True)
class Plan:
    """How large a run is."""

    order: Order
    stop_step: int
    """The step it ends at."""
    done: int
    """Steps that are in its last checkpoint."""
    global_batch_size: int

    @property
    def left(self) -> int:
        """Images that are still to be seen."""
        return (self.stop_step - self.done) * self.global_batch_size


def open_plan(config: RunConfig) -> Plan:
    """Open the shards of a run by their indexes and count its steps.

    Raises:
        ValueError: If shards or indexes are missing, are not those the run has begun with, or do
            not fit the batch and its lanes.
    """
    folder = RunFolder(Path(config.run_dir))
    sets = [_open(config.data, pattern) for pattern in config.data.patterns]
    require_same_shards(read_json(folder.shards), ShardSet.join(sets).describe())
    if config.data.val_shards is not None:
        _open(config.data, config.data.val_shards)
    order = _order(config, sets)
    stop_step = config.optim.epochs * order.steps_per_epoch
    done = last_step(folder)
    return Plan(order, stop_step, done, config.training.global_batch_size)


def _open(data: DataConfig, pattern: str) -> ShardSet:
    cache = None if data.cache_dir is None else Path(data.cache_dir)
    return ShardSet.open(pattern, index_missing=False, cache_dir=cache)


def _order(config: RunConfig, sets: list[ShardSet]) -> Order:
    data, counts = config.data, tuple(one.counts for one in sets)
    if isinstance(data, LabelledDataConfig) and data.num_labels is not None:
        counts = (np.array([data.num_labels]),)  # which ones they are is drawn in the job
    return open_order(
        counts,
        Dealing(
            seed=config.seed,
            global_batch_size=config.training.global_batch_size,
            num_lanes=data.num_lanes,
            block_size=data.block_size,
        ),
        weights=tuple(one.weight for one in data.sets),
        samples_per_epoch=data.samples_per_epoch,
    )


def check_world(plan: Plan, num_nodes: tuple[int, int], tasks_per_node: int) -> str:
    """Refuse more processes than lanes; say how large the shares are.

    Args:
        plan: The run.
        num_nodes: Fewest and most nodes.
        tasks_per_node: Training processes on each.

    Raises:
        ValueError: If there are more processes than lanes.
    """
    lanes = plan.order.num_lanes
    worlds = [nodes * tasks_per_node for nodes in num_nodes]
    rank_lanes(lanes, 0, worlds[1])
    shares = sorted({plan.order.share_size(rank, worlds[1]) for rank in range(worlds[1])})
    uneven = "" if len(shares) == 1 else "; the shares are uneven, a divisor of the lanes is faster"
    processes = " to ".join(str(world) for world in dict.fromkeys(worlds))
    return (
        f"{processes} processes, {lanes} lanes: with {worlds[1]}, "
        f"{' or '.join(map(str, shares))} images each of a global batch of "
        f"{plan.global_batch_size}{uneven}"
    )


def check_time(time: str, warning_s: int) -> int:
    """Return the seconds of one life that are before the warning.

    Raises:
        ValueError: If the warning takes half of them, or one of the two cannot be.
    """
    limit_s = seconds(time)
    if warning_s < 1:
        raise ValueError(f"--warning {warning_s}: seconds before the time limit, 1 or more")
    if 2 * warning_s > limit_s:
        raise ValueError(
            f"--warning {warning_s} s is more than half of --time {time}: a life would hardly "
            "train; give more time, or an earlier warning"
        )
    return limit_s - warning_s


def estimate_hours(plan: Plan, images_per_s: float | None, folder: RunFolder, life_s: int) -> str:
    """Say how many steps are left, and hours and lives at a stated speed or the run's last one."""
    steps = f"{plan.stop_step:,d} steps, {plan.stop_step - plan.done:,d} of them to do"
    source = "stated"
    if images_per_s is None:
        speeds = [line.get("speed/images_per_s") for line in read_lines(folder.metrics)]
        images_per_s = next((speed for speed in reversed(speeds) if speed), None)
        source = "of the run so far"
    if images_per_s is None:
        return f"{steps}; give --images-per-s to have its hours estimated"
    left_s = plan.left / images_per_s
    lives = math.ceil(left_s / life_s)
    return (
        f"{steps}, about {left_s / 3600:.1f} h at {images_per_s:,.0f} images/s ({source}): "
        f"{lives} {'life' if lives == 1 else 'lives'} of the time limit or a little more"
    )


def check_disk(config: RunConfig, plan: Plan) -> str:
    """Refuse a run whose checkpoints do not fit on the disk of its folder.

    Raises:
        ValueError: If there is less room than they need.
    """
    folder = RunFolder(Path(config.run_dir))
    size, source = checkpoint_bytes(config, folder)
    if size is None:
        return f"{source}: make sure that there is room for it"
    epochs, every = config.optim.epochs, config.training.keep_every_epochs
    kept = epochs // every if every else 0
    done_kept = plan.done // plan.order.steps_per_epoch // every if every else 0
    stay = [folder.last, folder.previous]
    stay += [folder.best] if isinstance(config, FinetuneConfig) else []
    written = 1 + sum(not path.is_file() for path in stay)  # one is written before one goes
    files = kept - done_kept + written
    here = next(place for place in (folder.root, *folder.root.absolute().parents) if place.exists())
    free = shutil.disk_usage(here).free
    text = f"{files} checkpoints of {_size(size)} ({source}), {_size(free)} free in {here}"
    if files * size > free:
        raise ValueError(
            f"the disk is too small: {text}; make room, keep fewer (training.keep_every_epochs), "
            "or give another run_dir"
        )
    return text


def checkpoint_bytes(config: RunConfig, folder: RunFolder) -> tuple[int | None, str]:
    """Return the size of a checkpoint, and where that is known from."""
    if folder.last.is_file():
        return folder.last.stat().st_size, "the size of the last one"
    parameters = num_parameters(config)
    if parameters is None:
        return None, f"the size of {config.model.name} is not known"
    return _BYTES_PER_PARAMETER * parameters, "estimated from the width and depth of the network"


def num_parameters(config: RunConfig) -> int | None:
    """Estimate the weights of the network, without its small tables; None if it is unknown.

    A block of width d has 12 d² (attention 4, perceptron 8); halving the grid costs 8 d².
    """
    model = config.model
    named = next((size for name, size in _SIZES.items() if model.name.startswith(name)), None)
    width = model.embed_dim or (named and named[0])
    depths = model.depths or (named and named[1])
    if not width or not depths:
        return None
    widths = [width * 2**stage for stage in range(len(depths))]
    blocks = sum(12 * depth * d**2 for depth, d in zip(depths, widths, strict=True))
    stride = 4 * 2 ** (len(depths) - 1)
    head = widths[-1] * len(config.data.mean) * stride**2  # of SimMIM; a classifier's is smaller
    return blocks + sum(8 * d**2 for d in widths[:-1]) + head


class FinishedRun(ValueError):
    """A run folder whose run is finished."""


def check_folder(config: RunConfig, kind: str, read: ReadConfig, resume_from: Path | None) -> str:
    """Refuse a run folder that is another run's, in a job's hands, or finished.

    Raises:
        FinishedRun: If it is finished, and of this very run.
        ValueError: If it is one of the others.
    """
    folder = RunFolder(Path(config.run_dir))
    _require_writable(folder.root)
    _require_free(folder)
    if resume_from is not None and not resume_from.is_file():
        raise ValueError(f"--resume-from {resume_from}: there is no such file")
    if folder.config.is_file():
        try:
            before = read(kind, folder.config)
        except ValueError as error:
            raise ValueError(f"{folder.root} holds another run, no {kind} run: {error}") from error
        for name, (old, new) in differences(flatten(before), flatten(config)).items():
            raise ValueError(
                f"{folder.root} holds a run with {name}={old!r}, this config says {new!r}; give "
                f"another run_dir, or --resume-from {folder.last} --run_dir NEW"
            )
    if folder.summary.is_file():
        raise FinishedRun(f"{folder.root} is finished: {folder.summary}")
    if not folder.last.is_file():
        return f"{folder.root} is new"
    return f"{folder.root} goes on from step {last_step(folder):,d}"


def _require_free(folder: RunFolder) -> None:
    """Refuse a folder that a living job owns, or waits for."""
    last = [*read_lines(folder.jobs), {}][-2:][0]
    for line in (last, read_json(folder.owner)):
        job = line.get("job")
        state = None if job is None else look_up(str(job))
        if state is not None and state.alive:
            raise ValueError(
                f"{folder.root} belongs to job {job}, which is {state.state}: wait for it, end it "
                f"with scancel {job}, or give another --run_dir"
            )


def _require_writable(folder: Path) -> None:
    here = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not here.is_dir() or not os.access(here, os.W_OK):
        raise ValueError(f"run_dir {folder} cannot be written to: {here}; give another --run_dir")


def check_encoder(encoder: str | None, comes: str | None) -> str | None:
    """Refuse an encoder that is neither there nor the run of the stage before.

    Raises:
        ValueError: If it is not.
    """
    if encoder is None:
        return None
    if encoder == comes:
        return f"{encoder}, which the step before makes"
    place = Path(encoder)
    if place.is_dir() and not RunFolder(place).encoder.is_file():
        raise ValueError(f"--encoder {encoder}: the run has written no encoder.safetensors yet")
    if not place.exists():
        raise ValueError(f"--encoder {encoder}: there is no such run folder or file")
    return encoder


def _size(count: float) -> str:
    power = min(4, int(math.log(max(count, 1), 1000)))
    return f"{count / 1000**power:.1f} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"
