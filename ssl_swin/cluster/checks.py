"""Checks of a run before it waits for hours in the queue: shards, processes, disk, run folder."""

import math
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ssl_swin.cluster.options import seconds
from ssl_swin.cluster.queue import JobState, look_up
from ssl_swin.cluster.script import Script
from ssl_swin.config.run import FinetuneConfig, RunConfig
from ssl_swin.data.open import join
from ssl_swin.data.order.lanes import Order
from ssl_swin.errors import UserError
from ssl_swin.machine import LoaderNeeds, as_text, shortages
from ssl_swin.record.curves import last_point
from ssl_swin.record.lines import read_json, read_lines
from ssl_swin.record.lives import last_step, nearest_place, require_saved, require_writable
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import is_finished
from ssl_swin.runs.classes import agree, given_weights
from ssl_swin.runs.sets import check_labels, open_run_sets
from ssl_swin.runs.sizes import Sizes, count_checkpoint_bytes, disk_needs, order_of

_WAITS = 0.25  # part of the time that a run may wait for data, as for `DataWait`


@dataclass(frozen=True)
class CheckedStage:
    """A stage that was checked, with its script."""

    kind: str
    root: Path
    runs: tuple[Path, ...]
    """Folders, in the order of the array's tasks; `root` alone if it is no array."""
    script: Script
    said: tuple[str, ...]
    """What the checks found."""
    after: tuple[str, ...] = ()
    """Jobs of others whose success it waits for."""


class Start(NamedTuple):
    """Where a run would start, and how."""

    config: RunConfig  # as the run would go on with it
    order: Order
    is_new: bool  # without a checkpoint to start from
    told: list[str]


def find_start(
    config: RunConfig,
    resume_from: Path | None,
    given: Collection[str] = (),
    on_gpu: bool | None = None,
    before: RunConfig | None = None,
) -> Start:
    """Open the shards of a run by their indexes; find where it starts, as the run itself does.

    `on_gpu` says whether its nodes have GPUs; `before` is the stage that will make its
    encoder.

    Raises:
        FinishedRun: If it is finished.
        UserError: If shards or indexes are missing, or do not fit the batch and its lanes; if
            classes differ; or if the folder holds another run, or one on other shards.
    """
    from ssl_swin.runs import left_open, resume  # late, for speed: they import torch
    from ssl_swin.runs.channels import reading_of

    sets = open_run_sets(config, index_missing=False)
    shards, model = join(sets.train).describe(), None if before is None else before.model
    settles = left_open.LeftOpen(sets, given, on_gpu, model)
    read = partial(resume.read_checkpoint, facts_only=True)
    found = resume.find_start(config, shards, resume_from, given, read, settles)
    names, sets, mapped = agree(found.config, sets, found.state, shards)
    given_weights(found.config, names)
    root, summary = found.folder.root, found.folder.summary
    if is_finished(found.folder):
        raise FinishedRun(f"{root} is finished: {summary}")
    here = "is new" if found.state is None else f"goes on from step {found.state['step']:,d}"
    told = [f"{root} {here}", *found.told(), *sets.said, *mapped]
    told += check_labels(found.config, sets)
    for one in filter(None, (sets.heldout, sets.labelled)):
        reading_of(found.config.data, one, sets)  # may lack a channel
    return Start(found.config, order_of(found.config, sets.train), found.state is None, told)


def describe_world(sizes: Sizes, fewest: int) -> str:
    """Say how large the shares of a run are, which may get from `fewest` processes to all."""
    most, shares = len(sizes.shares), sorted(set(sizes.shares))
    uneven = "" if len(shares) == 1 else "; the shares are uneven, a divisor of the lanes is faster"
    processes = " to ".join(map(str, dict.fromkeys((fewest, most))))
    return (
        f"{processes} processes, {sizes.num_lanes} lanes: with {most}, "
        f"{' or '.join(map(str, shares))} images each of a global batch of "
        f"{sizes.global_batch_size}{uneven}"
    )


def check_time(time: str, warning_s: int) -> int:
    """Return the seconds of one life that are before the warning.

    Raises:
        UserError: If the warning takes half of them, or one of the two cannot be.
    """
    limit_s = seconds(time)
    if warning_s < 1:
        raise UserError(f"--warning {warning_s}: seconds before the time limit, 1 or more")
    if 2 * warning_s > limit_s:
        raise UserError(
            f"--warning {warning_s} s is more than half of --time {time}: a life would hardly "
            "train; give more time, or an earlier warning"
        )
    return limit_s - warning_s


def estimate_hours(sizes: Sizes, folder: RunFolder, images_per_s: float | None, life_s: int) -> str:
    """Say how many steps are left, and how many hours and lives of `life_s` seconds they take.

    `images_per_s` is the speed that the user states; None for the last one in the folder.
    """
    left = sizes.stop_step - last_step(folder)
    steps = f"{sizes.stop_step:,d} steps, {left:,d} of them to do"
    source = "stated"
    if images_per_s is None:
        images_per_s, source = last_point(folder, "speed/images_per_s"), "of the run so far"
    if images_per_s is None:
        return f"{steps}; give --images-per-s to have its hours estimated"
    left_s = left * sizes.global_batch_size / images_per_s
    lives = math.ceil(left_s / life_s)
    return (
        f"{steps}, about {left_s / 3600:.1f} h at {images_per_s:,.0f} images/s ({source}): "
        f"{lives} {'life' if lives == 1 else 'lives'} of the time limit or a little more"
    )


def describe_feeding(
    config: RunConfig, folder: RunFolder, images_per_s: float | None, layout: tuple[int, int]
) -> list[str]:
    """Say what loaders must bring, or whether the run so far waited for them; perhaps nothing.

    `layout` is the number of nodes and of processes of each; `images_per_s` the speed that the user
    states for the whole run.
    """
    (nodes, processes), workers = layout, config.data.num_workers
    waited = last_point(folder, "speed/data_wait_share")
    if images_per_s is None and waited is not None and waited > _WAITS:
        return [
            f"the run so far waited for data {waited:.0%} of its time: give more data.num_workers "
            f"(now {workers}); ssl-swin doctor tells what else"
        ]
    if images_per_s is None or not workers:
        return []
    node = images_per_s / nodes
    return [
        f"each of {nodes} nodes must read {node:,.0f} images/s, each of its {processes} x "
        f"{workers} loader processes {node / processes / workers:,.0f}; ssl-swin doctor --data ... "
        f"--processes {processes} --images-per-s {node:.0f} says there whether they do"
    ]


def check_disk(config: RunConfig, sizes: Sizes, checkpoint_bytes: int) -> str:
    """Refuse a run whose checkpoints do not fit on the disk of its folder.

    Raises:
        UserError: If there is less room than they need.
    """
    files, size, source = disk_needs(config, sizes, checkpoint_bytes)
    here = nearest_place(RunFolder(Path(config.run_dir)))
    free = shutil.disk_usage(here).free
    text = f"{files} checkpoints of {as_text(size)} ({source}), {as_text(free)} free in {here}"
    if files * size > free:
        raise UserError(
            f"the disk is too small: {text}; make room, keep fewer (training.keep_every_epochs), "
            "or give another run_dir"
        )
    return text


def describe_machine(needs: LoaderNeeds) -> str:
    """Say what a run needs of each node, and what this machine has too little of.

    Nodes may have more, so it is no refusal; a run warns on its node.
    """
    text = f"each node: {as_text(needs.shared_bytes)} of /dev/shm, {needs.open_files} open files"
    return "; here ".join([text, *shortages(needs)])


def check_network(start: Start, teacher: RunConfig | None) -> tuple[int, list[str]]:
    """Build what learns, without weights; `teacher` is the stage that will make its teacher.

    Return the bytes of a checkpoint, and what is to be said.

    Raises:
        UserError: If settings do not fit each other, the images or the masks.
    """
    config, said = start.config, []
    checkpoint_bytes = count_checkpoint_bytes(config, teacher)
    # late, for speed: they import torch
    from ssl_swin.runs.tasks import require_unmixed
    from ssl_swin.runs.without_effect import without_effect

    if teacher is not None:
        said.append(f"target.teacher: {Path(teacher.run_dir)}, which the step before makes")
    if isinstance(config, FinetuneConfig):
        require_unmixed(config)
    elif start.is_new and (told := without_effect(config)) is not None:
        said.append(told)
    return checkpoint_bytes, said


class FinishedRun(UserError):
    """A run folder whose run is finished."""


def check_name(name: str, folder: Path) -> None:
    """Refuse a folder whose path SLURM cannot be told; `name` is the setting that named it.

    Raises:
        UserError: If it is one.
    """
    if re.search(r"[%\n\"'\\]", str(folder.absolute())):
        raise UserError(f"{name} {folder} holds a character that SLURM reads as another: rename it")


def check_folder(folder: RunFolder, name: str) -> None:
    """Refuse a folder that a living job has, or that cannot be written to, or lacks a file.

    Raises:
        UserError: If a living job has the folder, or it cannot be written to.
        MachineError: If the checkpoint that its record names is not there.
    """
    require_saved(folder)
    require_writable(folder, name)
    job, state = living_job(folder)
    if state is not None:
        raise UserError(
            f"{folder.root} belongs to job {job}, which is {state.state}: wait for it, end it "
            f"with scancel {job}, or give another --{name.replace('_', '-')}"
        )


def living_job(folder: RunFolder) -> tuple[str, JobState | None]:
    """Return the living job that owns a folder or waits for it, and its state; None if none is."""
    for line in (*read_lines(folder.jobs)[-1:], read_json(folder.owner)):
        job = line.get("job")
        state = None if job is None else look_up(str(job))
        if state is not None and state.alive:
            return str(job), state
    return "", None
