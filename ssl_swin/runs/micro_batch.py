"""Which micro-batch fits: tries sizes on this device, a few steps each, and says the largest."""

import gc
from dataclasses import replace
from typing import NamedTuple

import torch
from rich.progress import Progress
from rich.table import Table

from ssl_swin.errors import UserError
from ssl_swin.machine import as_text
from ssl_swin.phases import without_bar
from ssl_swin.record.report import show
from ssl_swin.runs.build import Run, build_trainer
from ssl_swin.runs.few_images import batch_of
from ssl_swin.runs.out_of_memory import advice
from ssl_swin.training.clock import StepTimer
from ssl_swin.training.memory import (
    name_of,
    peak,
    ran_out,
    reset_peak,
    taken_by_others,
    total_bytes,
)
from ssl_swin.training.trainer import limit_threads

MARGIN = 0.1  # of the device's memory that stays free: exchanges, other kernels, pieces too small
STEPS_S = 1.0  # about how long steps of each size are timed


class Try(NamedTuple):
    """What came of one size."""

    size: int
    taken_bytes: int  # most that was taken of the device, or would be
    images_per_s: float  # 0 if it was too large to be tried, or failed
    note: str


def try_micro_batches(run: Run) -> int:
    """Say the largest micro-batch that fits this device with a margin; write nothing.

    One process takes steps of at most two micro-batches, so that gradients are there while the
    second one goes forward. On a GPU a size that is too large fails, and what it took is freed. On
    the CPU nothing may fail, for the system would end the process: each size is foretold from the
    two before it, as memory grows by the image, and is tried only if it should fit.

    Raises:
        UserError: If not even one image fits.
    """
    limit_threads(run.config.training.num_threads, 1)
    tries: list[Try] = []
    lines = without_bar("trying micro-batches", lambda: f"{len(tries)} sizes are done")
    with Progress(transient=True) as progress, lines:
        for size in progress.track(sizes(max(run.sizes.shares)), description="micro-batches"):
            tries.append(_try(run, size, tries))
            if tries[-1].note:
                break
    show(_table(run, tries))
    fit = [one.size for one in tries if not one.note]
    if not fit:
        raise UserError(f"not even one image fits: {tries[0].note}; try {advice(run)}")
    told = "" if len(run.sizes.shares) == 1 else ", as one process found, without exchanges"
    print(
        f"the largest micro-batch that leaves {MARGIN:.0%} of the memory free{told}; type\n"
        f"  --training.micro-batch-size {fit[-1]}"
    )
    return 0


def sizes(share: int) -> list[int]:
    """Return powers of two up to a share, each as training cuts the share with it, and the share.

    Micro-batches of a share differ by one image at most, so that 16 of 24 becomes 12.
    """
    powers = [2**power for power in range((share - 1).bit_length())]
    return [*dict.fromkeys(-(-share // -(-share // size)) for size in (*powers, share))]


def foretold(size: int, tries: list[Try]) -> int:
    """Return what a size would take if each further image takes as much as between the last two."""
    if len(tries) < 2:
        return 0
    before, last = tries[-2:]
    each = (last.taken_bytes - before.taken_bytes) / (last.size - before.size)
    return int(last.taken_bytes + each * (size - last.size))


def _try(run: Run, size: int, before: list[Try]) -> Try:
    device = run.device
    free = total_bytes(device) - taken_by_others(device) - int(MARGIN * total_bytes(device))
    would = foretold(size, before)
    if not run.on_gpu and would > free:
        return Try(size, would, 0.0, f"not tried: it would take more than the {as_text(free)} left")
    reset_peak(device)
    rate = _images_per_s(run, size)
    taken = max(peak(device).values())
    _free(run)
    if not rate:
        return Try(size, taken, 0.0, "out of memory")
    return Try(size, taken, rate, "" if taken <= free else f"less than {MARGIN:.0%} is left free")


def _images_per_s(run: Run, size: int) -> float:
    """Time steps with micro-batches of this size; return 0 if memory is too small for them."""
    module, first = run.module, run.module.step
    batch = batch_of(run, min(2 * size, max(run.sizes.shares)))
    num = len(batch["index"])
    schedule = module.schedule
    module.train_all()
    module.schedule = replace(schedule, num_micro_batches=-(-num // size))
    run.datamodule.fixed = batch
    timer = StepTimer(STEPS_S)
    try:
        training = replace(run.config.training, devices=1, num_nodes=1)
        build_trainer(training, [timer]).fit(module, datamodule=run.datamodule)
    except Exception as error:
        if not ran_out(error, run.on_gpu):
            raise
        return 0.0
    finally:
        module.schedule, module.step, run.datamodule.fixed = schedule, first, None
    return num / timer.step_s


def _free(run: Run) -> None:
    """Let go of all that steps leave on the device, after an error, too."""
    run.module.result = None
    run.module.zero_grad(set_to_none=True)
    if run.config.training.compile != "off":
        torch.compiler.reset()  # what was compiled for one size is of no use for the next
    gc.collect()
    if run.on_gpu:
        torch.cuda.empty_cache()


def _table(run: Run, tries: list[Try]) -> Table:
    model, training = run.config.model, run.config.training
    title = f"{model.name}, {model.img_size} px, {training.precision}, {name_of(run.device)}"
    table = Table("micro-batch", "images/s", "memory at the peak", "", title=title)
    for one in tries:
        rate = f"{one.images_per_s:.1f}" if one.images_per_s else "-"
        table.add_row(str(one.size), rate, as_text(one.taken_bytes), one.note)
    return table
