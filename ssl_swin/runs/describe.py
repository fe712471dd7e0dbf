"""A dry run: what would be trained, how fast, in how much memory, and does it wait for data?"""

import math
import os
from copy import copy

import torch
from pytorch_lightning import Trainer

from ssl_swin.data.pixels.depths import depth_warning
from ssl_swin.data.shards.reader import some_images
from ssl_swin.phases import Phase, duration
from ssl_swin.runs.build import Run, build_trainer
from ssl_swin.runs.few_images import FewImages
from ssl_swin.runs.out_of_memory import advice, memory_told
from ssl_swin.shard_tools.doctor import REMOTE_SAMPLES, all_shares
from ssl_swin.shard_tools.timing import time_workers
from ssl_swin.training.memory import described, total_bytes
from ssl_swin.training.trainer import limit_threads, say

STEPS_S, LOADER_S = 3.0, 3.0  # about how long steps and loaders are timed
_LITTLE = 0.05  # of the time; more is worth another setting
NUM_LOOKED_AT = 50  # images whose range of numbers is looked at


def describe(run: Run) -> int:
    """Take a few small steps and say what would be trained, on what, how long; write nothing.

    Raises:
        UserError: If the memory of the device is too small.
    """
    training, module, first = run.config.training, run.module, run.module.step
    limit_threads(training.num_threads, training.devices)
    work_left = module.work(run.sizes.stop_step) - module.work(first)
    steps = FewImages(run, STEPS_S)
    with memory_told(run), Phase("a few small steps"):
        trainer = build_trainer(training, [steps])
        run.datamodule.fixed = steps.first()
        trainer.fit(module, datamodule=run.datamodule)
    with Phase("timing the loader"):
        gives = _loader_rate(run, trainer)
    if module.result is not None and module.result.bad:
        say("warning: the loss or the gradient of the last step was not finite")
    say(_sizes(run, first, trainer.world_size))
    step_s, workers = steps.step_s(), run.config.data.num_workers
    takes = training.global_batch_size / step_s
    computing, loading = work_left / takes, (run.sizes.stop_step - first) / gives
    # Without loader processes one thing is done after the other.
    left_s = max(computing, loading) if workers else computing + loading
    left_s *= training.global_batch_size
    say(
        f"{_memory(run, steps)}\n"
        f"time: {step_s:.3g} s a step here, {_tried(steps)}; "
        f"about {duration(left_s)} for those that are left\n"
        f"data: {feeding(takes, gives, workers, trainer.world_size)}"
    )
    if trainer.is_global_zero:
        _tell_depths(run)
    say("nothing was written; to train, type the same command without --dry-run")
    return 0


def _tried(steps: FewImages) -> str:
    """Say how the time of a step is known."""
    last = steps.tried[-1]
    if steps.is_whole:
        return f"as {last.num_steps} took that had their images"
    sizes = " and ".join(str(one.num_images) for one in steps.tried)
    return f"foretold from steps of {sizes} images of the {steps.share} of a process"


def _memory(run: Run, steps: FewImages) -> str:
    peak, device, small = steps.peak(), run.device, steps.tried[-1].micro_batch
    told = f"memory: {described(peak, device)}"
    if small < steps.micro_batch:
        told += f"\nmemory: foretold from {small} images for micro-batches of {steps.micro_batch}"
        if max(peak.values()) > total_bytes(device):
            told += f"\nwarning: that is more than there is; try one of {advice(run)}"
    return told


def feeding(takes: float, gives: float, num_workers: int, num_processes: int) -> str:
    """Say whether training waits for its loaders, and what to change.

    Both rates are images/s, of all processes; each of these has `num_workers` loader processes.
    """
    each = _counted(num_workers, "worker process")
    if num_processes == 1:
        told = f"the device takes {takes:.0f} images/s, the loader gives {gives:.0f} with {each}"
    else:
        told = (
            f"the {num_processes} devices take {takes:.0f} images/s, their loaders give "
            f"{gives:.0f} with {each} each"
        )
    if num_workers and gives >= takes:
        return f"{told}: training will not wait for data"
    waits = 1 - gives / takes if num_workers else takes / (takes + gives)
    if waits < _LITTLE:
        return f"{told}: training will hardly wait for data, {waits:.0%} of its time"
    wanted, cores = math.ceil(max(1, num_workers) * takes / gives), len(os.sched_getaffinity(0))
    told += (
        f": training will wait for data, {waits:.0%} of its time; give data.num_workers={wanted}"
    )
    if wanted <= cores:
        return told
    return (
        f"{told}, which is more than the {cores} cores of this process; or smaller images "
        "(ssl-swin shards create --short-side), or nearer storage; ssl-swin doctor tells which"
    )


def _loader_rate(run: Run, trainer: Trainer) -> float:
    """Return the images/s of all ranks' loaders, which work at the same time, as `doctor` does."""
    stream = copy(run.stream)
    shards = stream.shards
    if shards.given is not None:
        stream.labels = None  # they are in memory, and some images may have none
    shares = all_shares(shards, shards.storage.bring(REMOTE_SAMPLES), run.config.data.num_lanes)
    trainer.strategy.barrier()
    mine = time_workers(stream, shares, run.config.data.num_workers, LOADER_S)
    rate = torch.tensor(mine, device=trainer.strategy.root_device)
    return float(trainer.strategy.reduce(rate, reduce_op="sum"))


def _sizes(run: Run, first: int, world_size: int) -> str:
    training, model, order = run.config.training, run.config.model, run.order
    shards, stop_step = run.stream.shards, run.sizes.stop_step
    millions = sum(p.numel() for p in run.module.network.parameters()) / 1e6
    share_size = order.share_size(world_size - 1, world_size)
    return (
        f"{run.kind} {model.name}: {millions:.2f} M parameters, {model.img_size} px, "
        f"{training.precision}\n"
        f"data: {order.num_samples} images in {len(shards.counts)} shards, "
        f"{shards.bytes.sum() / 1e6:.1f} MB\n"
        f"steps: {first} done, {stop_step - first} left of {stop_step} ({run.config.optim.epochs} "
        f"epochs of {order.steps_per_epoch}, global batch {training.global_batch_size}: "
        f"{_counted(world_size, 'process')} x up to {share_size} images in "
        f"{_counted(run.sizes.num_micro_batches, 'micro-batch')})"
        f"{_watched(run)}"
    )


def _watched(run: Run) -> str:
    """Say what features are looked at, and how often."""
    if (found := run.monitored) is None:
        return ""
    every = found.every_steps / run.sizes.steps_per_epoch
    told = f"\nquality: features of {len(found.images):,} images"
    if found.labelled is not None:
        told += f" and neighbours of {len(found.labelled):,} labelled ones"
    return f"{told}, every {every:g} epoch{'' if every == 1 else 's'} and at the end"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 'es'}"


def _tell_depths(run: Run) -> None:
    heldout = run.datamodule.heldout
    for stream in [run.stream, *([heldout.stream] if heldout is not None else [])]:
        files = some_images(stream.shards, NUM_LOOKED_AT)
        if warning := depth_warning(files, stream.renderer.reading):
            say(warning)
