"""What a run is: frozen dataclasses. The line under a field is its `--help`."""

import re
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _require_positive(**values: float) -> None:
    for name, value in values.items():
        _require(value > 0, f"{name.replace('__', '.')}={value} must be greater than 0")


def _require_share(**values: float) -> None:
    for name, value in values.items():
        _require(0 <= value <= 1, f"{name.replace('__', '.')}={value} must lie in [0, 1]")


def _require_seed(seed: int) -> None:
    _require(0 <= seed < 2**63, f"seed={seed} must be 0 or more and less than 2**63")


@dataclass(frozen=True)
class SetConfig:
    """One of several shard sets that are trained on together."""

    shards: str
    """A folder, a tar, a glob, or braces such as train-{000000..000099}.tar."""
    weight: float
    """Its share of the images, relative to the other sets' weights."""

    def __post_init__(self) -> None:
        _require_positive(data__sets__weight=self.weight)


@dataclass(frozen=True)
class DataConfig:
    """Where images come from and what is done to them."""

    shards: str | None = None
    """Training shards: a folder, a tar, a glob, or braces such as train-{000000..000099}.tar; or a
    URL of these (http, https, s3, gs, hf)."""
    sets: tuple[SetConfig, ...] = ()
    """Instead of `shards`: several sets, each `{shards: ..., weight: ...}`."""
    samples_per_epoch: int | None = None
    """With `sets`: images of one epoch; null: as many as the sets hold together."""
    val_shards: str | None = None
    """Held-out shards; without them there is no held-out loss or accuracy."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Mean of each channel, of pixels in [0, 1]; its length is the number of channels, 1 or 3."""
    std: tuple[float, ...] = IMAGENET_STD
    """Standard deviation of each channel."""
    crop_scale: tuple[float, float] = (0.67, 1.0)
    """Smallest and largest share of the area that a random crop keeps."""
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest width over height of a random crop."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How crops are resized."""
    decoder: Literal["fast", "pil"] = "fast"
    """How JPEGs are decoded and resized: by libjpeg-turbo and torch, or by Pillow (reference)."""
    hflip: float = 0.5
    """Probability of a horizontal flip, [0, 1]."""
    crop_pct: float = 0.875
    """Share of the short side that the centre crop of evaluation keeps, (0, 1]."""
    num_workers: int = 8
    """Loader processes per training process; 0 loads in the training process."""
    num_lanes: int | None = None
    """Lanes the order is dealt in, a divisor of the global batch; null: the largest up to 64."""
    block_size: int = 4096
    """Samples shuffled together inside a lane."""
    max_bad_share: float = 0.01
    """Largest share of images that cannot be decoded, [0, 1]; above it the run stops."""
    cache_dir: str | None = None
    """Folder of this machine for remote shards, and for indexes of shards in read-only places;
    null: the user's cache."""
    cache_gb: float | None = None
    """Most gigabytes (1e9 bytes) of remote shards kept there; null: 80 % of what is free, with what
    the cache holds counted as free."""

    def __post_init__(self) -> None:
        _require(
            (self.shards is None) != (not self.sets),
            f"data.shards={self.shards!r} and {len(self.sets)} data.sets: give one of the two",
        )
        _require(
            self.samples_per_epoch is None or bool(self.sets),
            f"data.samples_per_epoch={self.samples_per_epoch} goes with data.sets; an epoch of "
            "data.shards is each image once",
        )
        _require(
            len(self.mean) == len(self.std) and len(self.mean) in (1, 3),
            f"data.mean has {len(self.mean)} and data.std {len(self.std)} values; give both 1 "
            "(grey) or 3 (RGB)",
        )
        _require_positive(data__crop_pct=self.crop_pct, data__block_size=self.block_size)
        _require(min(self.std) > 0, f"data.std={self.std} must be greater than 0")
        if self.num_lanes is not None:
            _require_positive(data__num_lanes=self.num_lanes)
        if self.cache_gb is not None:
            _require_positive(data__cache_gb=self.cache_gb)
        _require_share(
            data__crop_pct=self.crop_pct,
            data__hflip=self.hflip,
            data__max_bad_share=self.max_bad_share,
        )
        _require(self.num_workers >= 0, f"data.num_workers={self.num_workers} must be 0 or more")
        for name in ("crop_scale", "crop_ratio"):
            low, high = getattr(self, name)
            _require(0 < low <= high, f"data.{name}={(low, high)} must be 0 < smallest <= largest")
        _require(self.crop_scale[1] <= 1, f"data.crop_scale={self.crop_scale} must not exceed 1")


@dataclass(frozen=True)
class LabelledDataConfig(DataConfig):
    """Labelled images for fine-tuning."""

    crop_scale: tuple[float, float] = (0.08, 1.0)
    """Smallest and largest share of the area that a random crop keeps."""
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    """How crops are resized."""
    label_field: str = "label"
    """Field of the .json member that holds the class; .cls members come first."""
    num_labels: int | None = None
    """Use only so many training images, balanced over the classes, drawn by seed; null: all."""
    rand_augment: str = "rand-m9-mstd0.5-inc1"
    """timm's RandAugment policy (RGB only); empty for none."""
    erasing: float = 0.25
    """Probability of erasing one rectangle, [0, 1]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_share(data__erasing=self.erasing)
        if self.num_labels is not None:
            _require_positive(data__num_labels=self.num_labels)
            _require(
                not self.sets,
                f"data.num_labels={self.num_labels} draws from one shard set; give data.shards "
                "instead of data.sets",
            )
        _require(
            re.fullmatch(r"|rand(-(m|n|p|mstd|mmax|inc)\d+(\.\d+)?)*", self.rand_augment)
            is not None,
            f"data.rand_augment={self.rand_augment!r} is no policy of timm's; write it like "
            "rand-m9-mstd0.5-inc1, or '' for none",
        )
        _require(
            not self.rand_augment or len(self.mean) == 3,
            f"data.rand_augment={self.rand_augment!r} needs RGB images; set it to '' or give "
            "data.mean and data.std three values",
        )


@dataclass(frozen=True)
class ModelConfig:
    """A Swin by its timm name; null keeps what the name says."""

    name: str = "swin_base_patch4_window7_224"
    """timm's name of a Swin (v1)."""
    img_size: int = 192
    """Height and width of the network's input, pixels."""
    patch_size: int | None = None
    """Pixels to a side of a token of the first stage."""
    window_size: int | None = None
    """Tokens to a side of an attention window."""
    embed_dim: int | None = None
    """Channels of the first stage."""
    depths: tuple[int, ...] | None = None
    """Blocks of each stage."""
    num_heads: tuple[int, ...] | None = None
    """Attention heads of each stage."""
    drop_path_rate: float = 0.0
    """Drop path of the last block, rising from 0 at the first; [0, 1)."""

    def __post_init__(self) -> None:
        _require(
            0 <= self.drop_path_rate < 1,
            f"model.drop_path_rate={self.drop_path_rate} must lie in [0, 1)",
        )


@dataclass(frozen=True)
class MaskConfig:
    """What is hidden."""

    mask_patch_size: int = 32
    """Pixels to a side of a mask patch; divides img_size, a multiple of patch_size."""
    mask_ratio: float = 0.6
    """Share of mask patches hidden, rounded up to whole patches; (0, 1)."""


@dataclass(frozen=True)
class OptimConfig:
    """AdamW and its learning-rate curve; rates are per 512 images of the global batch."""

    epochs: int = 100
    """Times the data is seen."""
    warmup_epochs: float = 10
    """Epochs of linear warm-up, part of `epochs`."""
    schedule: Literal["cosine", "multistep"] = "cosine"
    """Shape after the warm-up."""
    warmup_prefix: bool = False
    """Start the cosine after the warm-up (Swin repository), not under it (SimMIM repository)."""
    milestones: tuple[int, ...] = (700,)
    """Epochs at which multistep multiplies the rate by gamma."""
    gamma: float = 0.1
    """Factor of multistep."""
    base_lr: float = 2e-4
    """Rate after the warm-up, per 512 images."""
    warmup_lr: float = 1e-6
    """Rate at the first step, per 512 images."""
    min_lr: float = 1e-5
    """Rate the cosine ends at, per 512 images."""
    weight_decay: float = 0.05
    """AdamW's decoupled weight decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay rates of the moments."""
    clip_grad: float = 5.0
    """Largest norm of the whole gradient; a larger one is scaled down to it."""

    def __post_init__(self) -> None:
        _require_positive(
            optim__epochs=self.epochs, optim__base_lr=self.base_lr, optim__clip_grad=self.clip_grad
        )
        _require(
            0 <= self.warmup_epochs < self.epochs,
            f"optim.warmup_epochs={self.warmup_epochs} must be at least 0 and less than "
            f"optim.epochs={self.epochs}",
        )
        for name in ("warmup_lr", "min_lr", "weight_decay"):
            value = getattr(self, name)
            _require(value >= 0, f"optim.{name}={value} must be 0 or more")
        _require(
            all(0 <= beta < 1 for beta in self.betas),
            f"optim.betas={self.betas} must lie in [0, 1)",
        )


@dataclass(frozen=True)
class FinetuneOptimConfig(OptimConfig):
    """As `OptimConfig`, with layer-wise decay."""

    warmup_epochs: float = 20
    """Epochs of linear warm-up, part of `epochs`."""
    base_lr: float = 1.25e-3
    """Rate of the head after the warm-up, per 512 images."""
    warmup_lr: float = 2.5e-7
    """Rate at the first step, per 512 images."""
    min_lr: float = 2.5e-7
    """Rate the cosine ends at, per 512 images."""
    layer_decay: float = 0.9
    """Factor on the rate from each layer to the one before it, (0, 1]."""
    mixup: float = 0.8
    """Alpha of mixup; 0 for none."""
    cutmix: float = 1.0
    """Alpha of CutMix; 0 for none."""
    label_smoothing: float = 0.1
    """Share of the target spread over all classes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_positive(optim__layer_decay=self.layer_decay)
        _require_share(
            optim__layer_decay=self.layer_decay, optim__label_smoothing=self.label_smoothing
        )
        _require(
            self.mixup >= 0 and self.cutmix >= 0,
            f"optim.mixup={self.mixup} and optim.cutmix={self.cutmix} must be 0 or more",
        )


@dataclass(frozen=True)
class TrainingConfig:
    """When, where and how often."""

    global_batch_size: int = 2048
    """Images in one optimiser step over all processes."""
    micro_batch_size: int = 128
    """Most images a process puts through the network at once; accumulation is derived."""
    precision: Literal["fp32", "bf16", "fp64"] = "fp32"
    """bf16 is autocast: weights, loss and optimiser stay float32."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train; auto takes a GPU if there is one."""
    devices: int = 1
    """Training processes on each node."""
    num_nodes: int = 1
    """Machines."""
    num_threads: int | None = None
    """CPU threads per training process; null: the cores, shared out."""
    deterministic: bool = False
    """Bit-equal repeats on CUDA, slower."""
    checkpoint_every_steps: int = 1000
    """Steps between checkpoints; 0 for none."""
    checkpoint_every_min: float = 15.0
    """Minutes between checkpoints; 0 for none."""
    async_checkpoint: bool = False
    """Write checkpoints in the background, from a copy in main memory."""
    keep_every_epochs: int = 0
    """Keep a checkpoint and its encoder after so many epochs; 0 keeps the last only."""
    validate_every_epochs: int = 1
    """Epochs between held-out measurements."""
    log_every_steps: int = 20
    """Steps between points in TensorBoard."""
    panel_every_epochs: int = 1
    """Epochs between picture panels; 0 for none but the last. Pretraining only."""
    ledger: bool = False
    """Write which images each step used."""
    step_timeout_s: float = 1800.0
    """Seconds without a step, held-out batch or save after which a process ends; 0 for none."""

    def __post_init__(self) -> None:
        _require_positive(
            training__global_batch_size=self.global_batch_size,
            training__micro_batch_size=self.micro_batch_size,
            training__devices=self.devices,
            training__num_nodes=self.num_nodes,
            training__validate_every_epochs=self.validate_every_epochs,
            training__log_every_steps=self.log_every_steps,
            training__num_threads=1 if self.num_threads is None else self.num_threads,
        )
        _require(
            self.checkpoint_every_steps >= 0 and self.checkpoint_every_min >= 0,
            "training.checkpoint_every_steps and training.checkpoint_every_min must be 0 or more",
        )
        _require(
            self.step_timeout_s >= 0,
            f"training.step_timeout_s={self.step_timeout_s} must be 0 or more",
        )


@dataclass(frozen=True)
class PretrainConfig:
    """A pretraining run."""

    run_dir: str
    """Folder of the run; the same folder goes on where it stopped."""
    data: DataConfig
    """Images."""
    seed: int = 0
    """Seed of everything drawn, 0 or more."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Network."""
    mask: MaskConfig = field(default_factory=MaskConfig)
    """Masking."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """Optimiser and learning rate."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """When, where and how often."""

    def __post_init__(self) -> None:
        _require_seed(self.seed)


@dataclass(frozen=True)
class FinetuneConfig:
    """A fine-tuning run."""

    run_dir: str
    """Folder of the run; the same folder goes on where it stopped."""
    data: LabelledDataConfig
    """Labelled images."""
    num_classes: int
    """Classes, numbered from 0."""
    encoder: str | None = None
    """encoder.safetensors, a pretraining run's folder, or an official .pth; null: from scratch."""
    seed: int = 0
    """Seed of everything drawn, 0 or more."""
    model: ModelConfig = field(default_factory=lambda: ModelConfig(drop_path_rate=0.1))
    """Network; must be the encoder's, except img_size and window_size."""
    optim: FinetuneOptimConfig = field(default_factory=FinetuneOptimConfig)
    """Optimiser, learning rate and mixing."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """When, where and how often."""

    def __post_init__(self) -> None:
        _require_seed(self.seed)
        _require(self.num_classes >= 2, f"num_classes={self.num_classes} must be 2 or more")


RunConfig = PretrainConfig | FinetuneConfig

# What may differ when a run goes on: it changes where and how fast, not which numbers come out.
LAYOUT = frozenset(
    {
        "run_dir",
        "data.shards",
        "data.val_shards",
        "data.num_workers",
        "data.max_bad_share",
        "data.cache_dir",
        "data.cache_gb",
        "training.micro_batch_size",
        "training.accelerator",
        "training.devices",
        "training.num_nodes",
        "training.num_threads",
        "training.checkpoint_every_steps",
        "training.checkpoint_every_min",
        "training.async_checkpoint",
        "training.keep_every_epochs",
        "training.validate_every_epochs",
        "training.log_every_steps",
        "training.panel_every_epochs",
        "training.ledger",
        "training.step_timeout_s",
    }
)


def flatten(config: RunConfig) -> dict[str, Any]:
    """Return the config as one flat dict with dotted names; tuples become lists."""

    def walk(prefix: str, value: Any) -> dict[str, Any]:
        if isinstance(value, dict):
            return {
                name: found
                for key in value
                for name, found in walk(f"{prefix}.{key}", value[key]).items()
            }
        return {prefix[1:]: list(value) if isinstance(value, tuple) else value}

    return walk("", asdict(config))


def differences(before: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what changes the numbers of a run: name -> (before, now)."""
    names = [*now, *(name for name in before if name not in now)]
    return {
        name: (before.get(name), now.get(name))
        for name in names
        if name not in LAYOUT and _number(before.get(name)) != _number(now.get(name))
    }


def _number(value: Any) -> Any:
    """What of a value changes numbers: of `data.sets` the weights, not the places."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [entry.get("weight") for entry in value]
    return value
