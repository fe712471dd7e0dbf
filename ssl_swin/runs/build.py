"""The composition root: the only file that turns a config into objects."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from ssl_swin.config.run import (
    DataConfig,
    FinetuneConfig,
    LabelledDataConfig,
    OptimConfig,
    PretrainConfig,
    RunConfig,
)
from ssl_swin.data.batches.labels import Labels, balanced_subset
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.order.lanes import Dealing, Order
from ssl_swin.data.order.open import open_order
from ssl_swin.data.pixels.transforms import EvaluationTransform, TrainTransform
from ssl_swin.data.remote.ahead import cache_plan, least_cache_bytes
from ssl_swin.data.shards.shard_set import ShardSet, open_shards
from ssl_swin.models.classifier import Classifier
from ssl_swin.models.masking import grid
from ssl_swin.models.normalise import Normalisation
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.pretrained.open import load_encoder, load_into
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs.resume import Start, find_start
from ssl_swin.training.checkpoint import restore
from ssl_swin.training.datamodule import Heldout, StreamModule
from ssl_swin.training.finetune import FinetuneModule, Regularisation
from ssl_swin.training.learner import Learner, Schedule
from ssl_swin.training.optim import LearningRateCurve, scaled_lr
from ssl_swin.training.pretrain import Masking, PretrainModule
from ssl_swin.training.trainer import say


@dataclass(frozen=True)
class Images:
    """What a run trains on, and where it begins."""

    kind: str
    start: Start
    shards: ShardSet
    stream: ImageStream
    order: Order


@dataclass(frozen=True)
class Run:
    """Everything a run consists of, built and not yet started."""

    config: RunConfig
    images: Images
    module: Learner
    datamodule: StreamModule
    stop_step: int

    @property
    def folder(self) -> RunFolder:
        """The run's files."""
        return self.images.start.folder

    @property
    def order(self) -> Order:
        """Who reads what at which step."""
        return self.images.order


def build_pretrain(config: PretrainConfig, resume_from: Path | None = None) -> Run:
    """Build a pretraining run, from its checkpoint if it has one.

    Raises:
        ValueError: If the config does not fit the data, the model or the run folder.
    """
    images = _images(config, "pretrain", resume_from)
    masking = _masking(config)
    torch.manual_seed(config.seed)
    module = PretrainModule(
        SimMIM(_encoder(config), masking.mask_patch_size),
        Normalisation(config.data.mean, config.data.std),
        masking,
        _schedule(config, images.order),
    )
    return _run(config, images, module)


def build_finetune(config: FinetuneConfig, resume_from: Path | None = None) -> Run:
    """Build a fine-tuning run, from its checkpoint if it has one.

    Raises:
        ValueError: If the config does not fit the data, the encoder or the run folder.
    """
    images = _images(config, "finetune", resume_from)
    torch.manual_seed(config.seed)
    encoder = _encoder(config)
    classifier = Classifier(encoder, config.num_classes)
    if config.encoder is not None and images.start.state is None:
        _hand_off(config, encoder, Path(config.encoder))
    module = FinetuneModule(
        classifier,
        Normalisation(config.data.mean, config.data.std),
        Regularisation(
            seed=config.seed,
            num_classes=config.num_classes,
            erasing=config.data.erasing,
            mixup=config.optim.mixup,
            cutmix=config.optim.cutmix,
            label_smoothing=config.optim.label_smoothing,
        ),
        _schedule(config, images.order),
        config.optim.layer_decay,
    )
    return _run(config, images, module)


def check_model(config: RunConfig) -> None:
    """Build the network without its weights, as a check.

    Raises:
        ValueError: If there is no such network, or it does not fit the images or the masks.
    """
    with torch.device("meta"):
        if isinstance(config, FinetuneConfig):
            Classifier(_encoder(config), config.num_classes)
        elif isinstance(config, PretrainConfig):
            SimMIM(_encoder(config), _masking(config).mask_patch_size)


def _images(config: RunConfig, kind: str, resume_from: Path | None) -> Images:
    data, img_size = config.data, config.model.img_size
    if data.decoder == "gpu" and not torch.cuda.is_available():
        raise ValueError("data.decoder=gpu, but this machine shows no GPU; use fast or pil")
    sets = [_open(data, pattern) for pattern in data.patterns]
    shards = ShardSet.join(sets)
    start = find_start(config, kind, shards.describe(), resume_from)
    labels = _labels(config)
    transform = TrainTransform(
        seed=config.seed,
        img_size=img_size,
        scale=data.crop_scale,
        ratio=data.crop_ratio,
        interpolation=data.interpolation,
        hflip=data.hflip,
        rand_augment=data.rand_augment if isinstance(data, LabelledDataConfig) else "",
        mean=data.mean,
    )
    order = _order(config, sets, labels)
    stream = ImageStream(shards, transform, img_size, len(data.mean), labels, data.decoder)
    return Images(kind, start, shards, stream, order)


def _order(config: RunConfig, sets: list[ShardSet], labels: Labels | None) -> Order:
    data = config.data
    counts, places = tuple(shards.counts for shards in sets), None
    if labels and isinstance(data, LabelledDataConfig) and data.num_labels is not None:
        places = balanced_subset(sets[0], labels, data.num_labels, config.seed)
        counts = (np.array([len(places)]),)
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
        places=places,
    )


def _labels(config: RunConfig) -> Labels | None:
    if isinstance(config, FinetuneConfig):
        return Labels(config.num_classes, config.data.label_field)
    return None


def _hand_off(config: FinetuneConfig, encoder: SwinEncoder, source: Path) -> None:
    state, card = load_encoder(source)
    load_into(encoder, state, card)
    if card is not None and (card.mean, card.std) != (config.data.mean, config.data.std):
        say(
            f"the encoder was trained with data.mean={card.mean} and data.std={card.std}, this "
            f"config has {config.data.mean} and {config.data.std}: give them as the encoder's"
        )


def _open(data: DataConfig, pattern: str) -> ShardSet:
    folder = None if data.cache_dir is None else Path(data.cache_dir)
    return open_shards(pattern, folder, data.cache_gb)


def _masking(config: PretrainConfig) -> Masking:
    size, ratio = config.mask.mask_patch_size, config.mask.mask_ratio
    return Masking(size, grid(config.model.img_size, size), ratio, config.seed)


def _encoder(config: RunConfig) -> SwinEncoder:
    return SwinEncoder(in_chans=len(config.data.mean), **asdict(config.model))


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
        _labels(config),
        config.data.decoder,
    )
    return Heldout(stream.on_cpu(), config.training.micro_batch_size)


def _check_cache(config: RunConfig, images: Images, heldout: Heldout | None) -> None:
    training = config.training
    least = least_cache_bytes(images.shards, images.order, training.devices, training.num_nodes)
    line = cache_plan(
        images.shards,
        least,
        heldout.stream.shards if heldout else None,
        training.devices * max(1, config.data.num_workers),
    )
    if line is not None:
        say(line)


def _run(config: RunConfig, images: Images, module: Learner) -> Run:
    if config.training.precision == "fp64":
        module.double()  # now, so that a checkpoint is not rounded to float32 on its way in
    if images.start.state is not None:
        restore(module, images.start.state)
    for name, (before, now) in images.start.changes.items():
        say(f"changed: {name} was {before!r}, is {now!r}")
    stop_step = config.optim.epochs * images.order.steps_per_epoch
    heldout = _heldout(config)
    _check_cache(config, images, heldout)
    datamodule = StreamModule(
        images.stream,
        images.order,
        heldout,
        (module.step, stop_step),
        config.data.num_workers,
    )
    return Run(config, images, module, datamodule, stop_step)
