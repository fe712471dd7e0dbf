"""The composition root: the only file that turns a config into objects."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import Logger

from ssl_swin.config.data import LabelledDataConfig
from ssl_swin.config.run import FinetuneConfig, RunConfig, kind_of
from ssl_swin.config.training import TrainingConfig
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.need import cache_line, least_cache_bytes
from ssl_swin.data.open import join
from ssl_swin.data.order.lanes import Order
from ssl_swin.data.pixels.transforms import EvaluationTransform, TrainTransform
from ssl_swin.data.shards.given import GivenLabels
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.phases import Phase, duration
from ssl_swin.runs.bands import require_bands
from ssl_swin.runs.best import best_is_elsewhere, best_of
from ssl_swin.runs.channels import channel_names, reading_of, unnamed
from ssl_swin.runs.classes import agree
from ssl_swin.runs.computing import (
    compile_as_asked,
    describe_computing,
    has_cuda_graphs,
    is_on_gpu,
)
from ssl_swin.runs.finetuning import finetune_module
from ssl_swin.runs.from_encoder import require_encoder
from ssl_swin.runs.labelled import LabelledImages, sampling_told
from ssl_swin.runs.left_open import LeftOpen
from ssl_swin.runs.monitored import monitored_of
from ssl_swin.runs.pretraining import pretrain_module
from ssl_swin.runs.recipe import quirks_of, recipe_told
from ssl_swin.runs.resume import Start, find_start
from ssl_swin.runs.sets import RunSets, check_labels, open_run_sets
from ssl_swin.runs.sizes import Sizes, count_steps, labelled_places, labels_of, order_of
from ssl_swin.runs.tasks import task_of
from ssl_swin.runs.teacher import same_teacher
from ssl_swin.training.checkpoint import restore
from ssl_swin.training.curve import LearningRateCurve, scaled_lr
from ssl_swin.training.datamodule import Heldout, StreamModule
from ssl_swin.training.learner import Learner, Schedule
from ssl_swin.training.monitors import Monitored
from ssl_swin.training.trainer import Hardware, make_trainer, say

# One rank waits for the others so long. The watchdog comes first, and knows what libraries do not:
# whether the job was suspended, so that nobody is late.
LONGEST = timedelta(days=7)
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Run:
    """Everything a run consists of, built and not yet started."""

    config: RunConfig
    kind: str
    start: Start
    stream: ImageStream
    order: Order
    sizes: Sizes
    module: Learner
    datamodule: StreamModule
    monitored: Monitored | None = None
    best_of: str | None = None
    """See `runs/best.py`."""

    @property
    def encoder(self) -> Any:
        """The encoder that is trained, SimMIM's or a classifier's."""
        return self.module.network.encoder

    @property
    def on_gpu(self) -> bool:
        """Whether it is trained on GPUs."""
        return is_on_gpu(self.config.training)

    @property
    def device(self) -> torch.device:
        """Where this process trains, has trained or will."""
        return torch.device("cuda", torch.cuda.current_device()) if self.on_gpu else _CPU


def build(config: RunConfig, resume_from: Path | None = None, given: Collection[str] = ()) -> Run:
    """Build a run from its checkpoint if it has one, or else from `resume_from`; see `find_start`.

    Raises:
        UserError: If the config does not fit the data, the network or the run folder.
    """
    began, kind, opened = time.monotonic(), kind_of(config), open_run_sets(config)
    sets, shards, left_open = opened.train, join(opened.train), LeftOpen(opened, given)
    say(_opened_told(shards, opened.heldout, time.monotonic() - began))
    with Phase("reading the run folder"):
        start = find_start(config, shards.describe(), resume_from, given, left_open=left_open)
    config = start.config
    if start.state is None:
        require_encoder(config)
    else:
        say(f"life {start.life}: goes on from step {start.state['step']:,d}")
    names, opened, mapped = agree(config, opened, start.state, start.shards)
    named = channel_names(config.data, opened)
    teacher = same_teacher(config, start.state)
    start = replace(start, classes=names, channel_names=named, teacher=teacher)
    for line in (*start.told(), *opened.said, *mapped):
        say(line)
    data, training = config.data, config.training
    heldout = _heldout(config, opened)
    with Phase("looking at labels"):
        said = check_labels(config, opened)
    for line in said:
        say(line)
    labels = labels_of(config, opened.train_renumber)
    images = LabelledImages.of(config, sets, labels)
    how = config.model.img_size, len(data.mean), labels, reading_of(data, shards, opened)
    stream = ImageStream(shards, _transform(config), *how)
    require_bands(stream, None if heldout is None else heldout.stream)
    order = order_of(config, sets, images.places, images.sampled(config))
    if (told := sampling_told(order, names)) is not None:
        say(told)
    sizes = count_steps(config, order, training.devices * training.num_nodes)
    if start.state is None:
        say(f"{sizes.num_lanes} lanes: each life of this run may have as many processes, or fewer")
    module = _module(config, _schedule(config, sizes), start, images, shards.given)
    _check_cache(config, shards, order, heldout)
    start, steps = replace(start, loaded=module.loaded), (module.step, sizes.stop_step)
    datamodule = StreamModule(stream, order, heldout, steps, data.num_workers)
    monitored = monitored_of(config, opened, shards if heldout is None else heldout, sizes)
    best = best_of(module, heldout, monitored)
    if start.state is not None and best_is_elsewhere(start, kind, best):
        module.forget_best()
    return Run(config, kind, start, stream, order, sizes, module, datamodule, monitored, best)


def build_trainer(
    training: TrainingConfig, callbacks: list[Callback], loggers: Sequence[Logger] = ()
) -> Trainer:
    """Return a Trainer on the devices of a run; refuses what `make_trainer` does."""
    hardware = Hardware(
        training.accelerator,
        training.devices,
        training.num_nodes,
        training.precision,
        training.deterministic,
        training.tf32,
        training.reduce_precision,
        training.strategy,
    )
    return make_trainer(hardware, callbacks, list(loggers), LONGEST)


def _opened_told(shards: ShardSet, heldout: ShardSet | None, seconds: float) -> str:
    told = f"opened {shards.num_samples:,} images"
    if heldout is not None:
        told += f" and {heldout.num_samples:,} held-out"
    return f"{told}, {duration(seconds)}"


def _transform(config: RunConfig) -> TrainTransform:
    data = config.data
    return TrainTransform(
        seed=config.seed,
        img_size=config.model.img_size,
        scale=data.crop_scale,
        ratio=data.crop_ratio,
        interpolation=data.interpolation,
        hflip=data.hflip,
        vflip=data.vflip,
        quarter_turns=data.quarter_turns,
        rand_augment=data.rand_augment if isinstance(data, LabelledDataConfig) else "",
        mean=data.mean,
        erasing=data.erasing if isinstance(data, LabelledDataConfig) else 0.0,
    )


def _module(
    config: RunConfig,
    schedule: Schedule,
    start: Start,
    images: LabelledImages,
    labels: GivenLabels | None,
) -> Learner:
    """Build what learns, with the weights that this life starts with; say how large it is."""
    torch.manual_seed(config.seed)
    with Phase("building the network") as building:
        if isinstance(config, FinetuneConfig):
            task = task_of(config, labels)
            module: Learner = finetune_module(config, schedule, images, start, task)
        else:
            module = pretrain_module(config, schedule, start)
        if config.training.precision == "fp64":
            module.double()  # now, so that a checkpoint is not rounded to float32 on its way in
        if start.state is not None:
            restore(module, start.state)
        encoder: Any = module.network.encoder  # SimMIM's or a classifier's
        compile_as_asked(encoder, config.training)
        module.cuda_graphs = has_cuda_graphs(config.training)
    if line := describe_computing(encoder, config.training):
        say(line)
    say(recipe_told(config, module))
    num = sum(one.numel() for one in module.network.parameters())
    say(f"built {config.model.name}: {num / 1e6:.2f} M parameters, {duration(building.seconds)}")
    return module


def _schedule(config: RunConfig, sizes: Sizes) -> Schedule:
    optim, batch, per_epoch = config.optim, sizes.global_batch_size, sizes.steps_per_epoch
    quirks = quirks_of(config)
    milestones = optim.milestones if optim.schedule == "multistep" else ()
    curve = LearningRateCurve(
        total_steps=sizes.stop_step,
        base_lr=scaled_lr(optim.base_lr, batch),
        schedule=optim.schedule,
        warmup_steps=int(optim.warmup_epochs * per_epoch),
        warmup_lr=scaled_lr(optim.warmup_lr, batch),
        min_lr=scaled_lr(optim.min_lr, batch),
        milestones=tuple(epoch * per_epoch for epoch in milestones),
        gamma=optim.gamma,
        warmup_prefix=not quirks.cosine_under_warmup,
        lags=quirks.lags,
        same_ends=quirks.same_ends,
    )
    return Schedule(
        seed=config.seed,
        global_batch_size=batch,
        steps_per_epoch=per_epoch,
        num_micro_batches=sizes.num_micro_batches,
        curve=curve,
        weight_decay=optim.weight_decay,
        betas=optim.betas,
        clip_grad=optim.clip_grad,
        quirks=quirks,
    )


def _heldout(config: RunConfig, sets: RunSets) -> Heldout | None:
    data, img_size = config.data, config.model.img_size
    if sets.heldout is None:
        say("no data.val_shards: there will be no held-out measurement")
        return None
    transform = EvaluationTransform(img_size, data.crop_pct)
    labels = labels_of(config, sets.heldout_renumber)
    for line in unnamed(data, sets.heldout):
        say(line)
    reading = reading_of(data, sets.heldout, sets)
    stream = ImageStream(sets.heldout, transform, img_size, len(data.mean), labels, reading)
    return Heldout(stream, config.training.micro_batch_size, labelled_places([sets.heldout]))


def _check_cache(
    config: RunConfig, shards: ShardSet, order: Order, heldout: Heldout | None
) -> None:
    training = config.training
    line = cache_line(
        shards,
        lambda: least_cache_bytes(shards, order, training.devices, training.num_nodes),
        heldout.stream.shards if heldout else None,
        training.devices * max(1, config.data.num_workers),
    )
    if line is not None:
        say(line)
