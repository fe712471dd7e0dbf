"""The composition root: the only file that turns a config into objects."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ssl_swin.config.data import LabelledDataConfig
from ssl_swin.config.optim import OptimConfig
from ssl_swin.config.run import FinetuneConfig, PretrainConfig, RunConfig, kind_of
from ssl_swin.data.batches.labels import Labels, balanced_subset
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.open import join
from ssl_swin.data.order.lanes import Order
from ssl_swin.data.pixels.transforms import EvaluationTransform, TrainTransform
from ssl_swin.data.remote.need import cache_line, least_cache_bytes
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import UserError
from ssl_swin.models.encoder import Encoder
from ssl_swin.models.lookup import look_up
from ssl_swin.models.masking import MASKS, grid
from ssl_swin.models.normalise import Normalisation
from ssl_swin.pretrained.open import load_into, read_weights
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs.network import build_classifier, build_simmim
from ssl_swin.runs.resume import Start, find_start
from ssl_swin.runs.sizes import Sizes, count_steps, open_set, open_sets, order_of
from ssl_swin.training.checkpoint import restore
from ssl_swin.training.curve import LearningRateCurve, scaled_lr
from ssl_swin.training.datamodule import Heldout, StreamModule
from ssl_swin.training.finetune import FinetuneModule
from ssl_swin.training.learner import Learner, Schedule
from ssl_swin.training.pretrain import Masking, PretrainModule
from ssl_swin.training.regularise import Regularisation
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
    sizes: Sizes
    module: Learner
    datamodule: StreamModule

    @property
    def stop_step(self) -> int:
        """The step the run ends at."""
        return self.sizes.stop_step

    @property
    def folder(self) -> RunFolder:
        """The run's files."""
        return self.images.start.folder

    @property
    def order(self) -> Order:
        """Who reads what at which step."""
        return self.images.order


def build(config: RunConfig, resume_from: Path | None = None) -> Run:
    """Build a run, from its checkpoint if it has one.

    Args:
        config: The run.
        resume_from: Checkpoint to change a run on purpose.

    Raises:
        UserError: If the config does not fit the data, the network or the run folder.
    """
    training = config.training
    images = _images(config, resume_from)
    sizes = count_steps(config, images.order, training.devices * training.num_nodes)
    module = _module(config, _schedule(config, sizes), images.start)
    heldout = _heldout(config)
    _check_cache(config, images, heldout)
    datamodule = StreamModule(
        images.stream,
        images.order,
        heldout,
        (module.step, sizes.stop_step),
        config.data.num_workers,
    )
    return Run(config, images, sizes, module, datamodule)


def _images(config: RunConfig, resume_from: Path | None) -> Images:
    data, img_size, kind = config.data, config.model.img_size, kind_of(config)
    if data.decoder == "gpu" and not torch.cuda.is_available():
        raise UserError("data.decoder=gpu, but this machine shows no GPU; use fast or pil")
    sets = open_sets(data)
    shards = join(sets)
    start = find_start(config, kind, shards.describe(), resume_from)
    labels, places = _labels(config), None
    if labels and isinstance(data, LabelledDataConfig) and data.num_labels is not None:
        places = balanced_subset(sets[0], labels, data.num_labels, config.seed)
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
    stream = ImageStream(shards, transform, img_size, len(data.mean), labels, data.decoder)
    return Images(kind, start, shards, stream, order_of(config, sets, places))


def _module(config: RunConfig, schedule: Schedule, start: Start) -> Learner:
    """Build what learns, with the weights that this life starts with."""
    torch.manual_seed(config.seed)
    if isinstance(config, FinetuneConfig):
        module = _finetune_module(config, schedule, is_new=start.state is None)
    else:
        module = _pretrain_module(config, schedule)
    if config.training.precision == "fp64":
        module.double()  # now, so that a checkpoint is not rounded to float32 on its way in
    if start.state is not None:
        restore(module, start.state)
    for name, (before, now) in start.changes.items():
        say(f"changed: {name} was {before!r}, is {now!r}")
    return module


def _pretrain_module(config: PretrainConfig, schedule: Schedule) -> Learner:
    mask = config.mask
    simmim = build_simmim(config)
    masking = Masking(
        mask.mask_patch_size,
        grid(config.model.img_size, mask.mask_patch_size),
        mask.mask_ratio,
        config.seed,
        look_up(MASKS, "mask.kind", mask.kind),
    )
    normalise = Normalisation(config.data.mean, config.data.std)
    return PretrainModule(simmim, normalise, masking, schedule)


def _finetune_module(config: FinetuneConfig, schedule: Schedule, is_new: bool) -> Learner:
    classifier = build_classifier(config)
    if config.encoder is not None and is_new:
        _hand_off(config, classifier.encoder, Path(config.encoder))
    regularisation = Regularisation(
        seed=config.seed,
        num_classes=config.num_classes,
        erasing=config.data.erasing,
        mixup=config.optim.mixup,
        cutmix=config.optim.cutmix,
        label_smoothing=config.optim.label_smoothing,
    )
    normalise = Normalisation(config.data.mean, config.data.std)
    return FinetuneModule(classifier, normalise, regularisation, schedule, config.optim.layer_decay)


def _labels(config: RunConfig) -> Labels | None:
    if isinstance(config, FinetuneConfig):
        return Labels(config.num_classes, config.data.label_field)
    return None


def _hand_off(config: FinetuneConfig, encoder: Encoder, source: Path) -> None:
    state, card = read_weights(source)
    load_into(encoder, state, card)
    if card is not None and (card.mean, card.std) != (config.data.mean, config.data.std):
        say(
            f"the encoder was trained with data.mean={card.mean} and data.std={card.std}, this "
            f"config has {config.data.mean} and {config.data.std}: give them as the encoder's"
        )


def _schedule(config: RunConfig, sizes: Sizes) -> Schedule:
    return Schedule(
        seed=config.seed,
        global_batch_size=sizes.global_batch_size,
        steps_per_epoch=sizes.steps_per_epoch,
        num_micro_batches=sizes.num_micro_batches,
        curve=_curve(config.optim, sizes),
        weight_decay=config.optim.weight_decay,
        betas=config.optim.betas,
        clip_grad=config.optim.clip_grad,
    )


def _curve(optim: OptimConfig, sizes: Sizes) -> LearningRateCurve:
    batch, per_epoch = sizes.global_batch_size, sizes.steps_per_epoch
    multistep = optim.schedule == "multistep"
    return LearningRateCurve(
        total_steps=sizes.stop_step,
        base_lr=scaled_lr(optim.base_lr, batch),
        schedule=optim.schedule,
        warmup_steps=int(optim.warmup_epochs * per_epoch),
        warmup_lr=scaled_lr(optim.warmup_lr, batch),
        min_lr=scaled_lr(optim.min_lr, batch),
        milestones=tuple(epoch * per_epoch for epoch in optim.milestones) if multistep else (),
        gamma=optim.gamma,
        warmup_prefix=optim.warmup_prefix,
    )


def _heldout(config: RunConfig) -> Heldout | None:
    if config.data.val_shards is None:
        say("no data.val_shards: there will be no held-out measurement")
        return None
    size = config.model.img_size
    stream = ImageStream(
        open_set(config.data, config.data.val_shards),
        EvaluationTransform(size, config.data.crop_pct),
        size,
        len(config.data.mean),
        _labels(config),
        config.data.decoder,
    )
    return Heldout(stream.on_cpu(), config.training.micro_batch_size)


def _check_cache(config: RunConfig, images: Images, heldout: Heldout | None) -> None:
    training = config.training
    machines = (training.devices, training.num_nodes)
    line = cache_line(
        images.shards,
        lambda: least_cache_bytes(images.shards, images.order, *machines),
        heldout.stream.shards if heldout else None,
        training.devices * max(1, config.data.num_workers),
    )
    if line is not None:
        say(line)
