"""What a run is: frozen dataclasses. The line under a field is its `--help`."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ssl_swin.config.data import (
    DataConfig,
    LabelledDataConfig,
    require,
    require_positive,
    require_share,
)
from ssl_swin.config.data import (
    SetConfig as SetConfig,
)


def _require_seed(seed: int) -> None:
    require(0 <= seed < 2**63, f"seed={seed} must be 0 or more and less than 2**63")


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
        require(
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
        require_positive(
            optim__epochs=self.epochs, optim__base_lr=self.base_lr, optim__clip_grad=self.clip_grad
        )
        require(
            0 <= self.warmup_epochs < self.epochs,
            f"optim.warmup_epochs={self.warmup_epochs} must be at least 0 and less than "
            f"optim.epochs={self.epochs}",
        )
        for name in ("warmup_lr", "min_lr", "weight_decay"):
            value = getattr(self, name)
            require(value >= 0, f"optim.{name}={value} must be 0 or more")
        require(
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
        require_positive(optim__layer_decay=self.layer_decay)
        require_share(
            optim__layer_decay=self.layer_decay, optim__label_smoothing=self.label_smoothing
        )
        require(
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
        require_positive(
            training__global_batch_size=self.global_batch_size,
            training__micro_batch_size=self.micro_batch_size,
            training__devices=self.devices,
            training__num_nodes=self.num_nodes,
            training__validate_every_epochs=self.validate_every_epochs,
            training__log_every_steps=self.log_every_steps,
            training__num_threads=1 if self.num_threads is None else self.num_threads,
        )
        require(
            self.checkpoint_every_steps >= 0 and self.checkpoint_every_min >= 0,
            "training.checkpoint_every_steps and training.checkpoint_every_min must be 0 or more",
        )
        require(
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
        require(self.num_classes >= 2, f"num_classes={self.num_classes} must be 2 or more")


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
