"""The composition root: the only file that turns a config into objects."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ssl_swin.config import (
    DataConfig,
    FinetuneConfig,
    ModelConfig,
    OptimConfig,
    PretrainConfig,
    RunConfig,
)
from ssl_swin.data.augment import EvaluationTransform, TrainTransform
from ssl_swin.data.order import Order, default_num_lanes
from ssl_swin.data.shards import ShardSet
from ssl_swin.data.stream import ImageStream, Labels, balanced_subset
from ssl_swin.models.classifier import Classifier
from ssl_swin.models.masking import grid
from ssl_swin.models.normalise import Normalise
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.optim import LearningRateCurve, scaled_lr
from ssl_swin.pretrained.load import load_encoder, load_into
from ssl_swin.resume import Start, find_start
from ssl_swin.training.checkpoint import restore
from ssl_swin.training.datamodule import Heldout, StreamModule
from ssl_swin.training.finetune import FinetuneModule, Regularise
from ssl_swin.training.learner import Learner, Schedule
from ssl_swin.training.pretrain import Masking, PretrainModule
from ssl_swin.training.trainer import say

DRY_RUN_STEPS = 2


@dataclass(frozen=True)
class Run:
    """Everything a run consists of, built and not yet started."""

    config: RunConfig
    kind: str
    start: Start
    shards: ShardSet
    order: Order
    module: Learner
    datamodule: StreamModule
    stop_step: int


def build_pretrain(config: PretrainConfig, resume_from: Path | None = None) -> Run:
    """Build a pretraining run, from its checkpoint if it has one.

    Raises:
        ValueError: If the config does not fit the data, the model or the run folder.
    """
    shards = _open(config.data, config.data.shards)
    start = find_start(config, "pretrain", shards.describe(), resume_from)
    transform = TrainTransform(
        seed=config.seed,
        img_size=config.model.img_size,
        scale=config.data.crop_scale,
        ratio=config.data.crop_ratio,
        interpolation=config.data.interpolation,
        hflip=config.data.hflip,
    )
    stream = ImageStream(shards, transform, config.model.img_size, len(config.data.mean))
    order = _order(config, shards.counts)
    torch.manual_seed(config.seed)
    encoder = _encoder(config.model, len(config.data.mean))
    masking = Masking(
        config.mask.mask_patch_size,
        grid(config.model.img_size, config.mask.mask_patch_size),
        config.mask.mask_ratio,
        config.seed,
    )
    module = PretrainModule(
        SimMIM(encoder, config.mask.mask_patch_size),
        Normalise(config.data.mean, config.data.std),
        masking,
        _schedule(config, order),
    )
    return _run(config, "pretrain", start, shards, order, module, stream, None)


def build_finetune(config: FinetuneConfig, resume_from: Path | None = None) -> Run:
    """Build a fine-tuning run, from its checkpoint if it has one.

    Raises:
        ValueError: If the config does not fit the data, the encoder or the run folder.
    """
    data, optim = config.data, config.optim
    shards = _open(data, data.shards)
    start = find_start(config, "finetune", shards.describe(), resume_from)
    transform = TrainTransform(
        seed=config.seed,
        img_size=config.model.img_size,
        scale=data.crop_scale,
        ratio=data.crop_ratio,
        interpolation=data.interpolation,
        hflip=data.hflip,
        rand_augment=data.rand_augment,
        mean=data.mean,
    )
    labels = Labels(config.num_classes, data.label_field)
    stream = ImageStream(shards, transform, config.model.img_size, len(data.mean), labels)
    places = None
    if data.num_labels is not None:
        places = balanced_subset(shards, labels, data.num_labels, config.seed)
    order = _order(config, shards.counts if places is None else np.array([len(places)]))
    torch.manual_seed(config.seed)
    encoder = _encoder(config.model, len(data.mean))
    classifier = Classifier(encoder, config.num_classes)
    if config.encoder is not None and start.state is None:
        load_into(encoder, *load_encoder(Path(config.encoder)))
    regularise = Regularise(
        seed=config.seed,
        num_classes=config.num_classes,
        erasing=data.erasing,
        mixup=optim.mixup,
        cutmix=optim.cutmix,
        label_smoothing=optim.label_smoothing,
    )
    module = FinetuneModule(
        classifier,
        Normalise(data.mean, data.std),
        regularise,
        _schedule(config, order),
        optim.layer_decay,
    )
    return _run(config, "finetune", start, shards, order, module, stream, places)


def _open(data: DataConfig, pattern: str) -> ShardSet:
    cache = None if data.index_cache is None else Path(data.index_cache)
    return ShardSet.open(pattern, cache_dir=cache)


def _order(config: RunConfig, counts: np.ndarray) -> Order:
    batch = config.training.global_batch_size
    lanes = config.data.num_lanes or default_num_lanes(batch)
    return Order(counts, config.seed, batch, lanes, config.data.block_size)


def _encoder(model: ModelConfig, in_chans: int) -> SwinEncoder:
    return SwinEncoder(
        model.name,
        img_size=model.img_size,
        patch_size=model.patch_size,
        window_size=model.window_size,
        in_chans=in_chans,
        embed_dim=model.embed_dim,
        depths=model.depths,
        num_heads=model.num_heads,
        drop_path_rate=model.drop_path_rate,
    )


def _schedule(config: RunConfig, order: Order) -> Schedule:
    training, optim = config.training, config.optim
    world_size = training.devices * training.num_nodes
    return Schedule(
        seed=config.seed,
        global_batch_size=training.global_batch_size,
        steps_per_epoch=order.steps_per_epoch,
        num_micro_batches=order.num_micro_batches(training.micro_batch_size, world_size),
        curve=_curve(optim, order.steps_per_epoch, training.global_batch_size),
        weight_decay=optim.weight_decay,
        betas=optim.betas,
        clip_grad=optim.clip_grad,
    )


def _curve(optim: OptimConfig, steps_per_epoch: int, global_batch_size: int) -> LearningRateCurve:
    multistep = optim.schedule == "multistep"
    return LearningRateCurve(
        total_steps=optim.epochs * steps_per_epoch,
        base_lr=scaled_lr(optim.base_lr, global_batch_size),
        schedule=optim.schedule,
        warmup_steps=int(optim.warmup_epochs * steps_per_epoch),
        warmup_lr=scaled_lr(optim.warmup_lr, global_batch_size),
        min_lr=scaled_lr(optim.min_lr, global_batch_size),
        milestones=tuple(m * steps_per_epoch for m in optim.milestones) if multistep else (),
        gamma=optim.gamma,
        warmup_prefix=optim.warmup_prefix,
    )


def _heldout(config: RunConfig) -> Heldout | None:
    if config.data.val_shards is None:
        say("no data.val_shards: there will be no held-out measurement")
        return None
    size = config.model.img_size
    stream = ImageStream(
        _open(config.data, config.data.val_shards),
        EvaluationTransform(size, config.data.crop_pct),
        size,
        len(config.data.mean),
        Labels(config.num_classes, config.data.label_field)
        if isinstance(config, FinetuneConfig)
        else None,
    )
    return Heldout(stream, config.training.micro_batch_size)


def _run(
    config: RunConfig,
    kind: str,
    start: Start,
    shards: ShardSet,
    order: Order,
    module: Learner,
    stream: ImageStream,
    places: np.ndarray | None,
) -> Run:
    if start.state is not None:
        restore(module, start.state)
    for name, (before, now) in start.changes.items():
        say(f"changed: {name} was {before!r}, is {now!r}")
    stop_step = config.optim.epochs * order.steps_per_epoch
    datamodule = StreamModule(
        stream,
        order,
        places,
        _heldout(config),
        (module.step, stop_step),
        config.data.num_workers,
    )
    return Run(config, kind, start, shards, order, module, datamodule, stop_step)
