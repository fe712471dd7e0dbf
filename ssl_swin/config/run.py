"""What a run is: frozen dataclasses. The line under a field is its `--help`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ssl_swin.config.data import DataConfig, LabelledDataConfig
from ssl_swin.config.finetuning import FinetuningConfig
from ssl_swin.config.model import (
    DecoderConfig,
    HeadConfig,
    MaskConfig,
    ModelConfig,
    ProgressiveConfig,
    TargetConfig,
)
from ssl_swin.config.optim import FinetuneOptimConfig, OptimConfig
from ssl_swin.config.settings import LAYOUT, require, require_finite
from ssl_swin.config.training import TrainingConfig
from ssl_swin.data.shards.names import NUMBERS, SINGLE

ChannelRule = Literal["repeat", "average", "zero"]
Recipe = Literal["official", "corrected"]


def _require_seed(seed: int) -> None:
    require(0 <= seed < 2**63, f"seed={seed} must be 0 or more and less than 2**63")


@dataclass(frozen=True)
class PretrainConfig:
    """A pretraining run."""

    run_dir: str = field(metadata=LAYOUT)
    """Folder of the run; the same folder goes on where it stopped."""
    data: DataConfig
    """Images."""
    init: str | None = None
    """Weights to begin with: encoder.safetensors, a run's folder, timm:NAME, timm:NAME:FILE, or a
    file or folder with an encoder of timm, transformers, torchvision or others; null: from
    scratch."""
    encoder_channels: ChannelRule | None = None
    """How patches take what weights of other channels learned: "repeat", their channels in turn,
    scaled; "average", all alike; "zero", the first as they are, others from 0; null: refused."""
    seed: int = 0
    """Seed of everything drawn, 0 or more."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Network; what is not given is that of init, and only img_size, window_size and
    drop_path_rate may be others."""
    mask: MaskConfig = field(default_factory=MaskConfig)
    """Masking."""
    target: TargetConfig = field(default_factory=TargetConfig)
    """Target."""
    loss: str = "l1"
    """How a prediction is held against its target: l1, the mean absolute error; l2, the squared
    one; smooth_l1, squared below loss_beta and absolute beyond; cosine, minus that of all numbers
    of a position."""
    loss_beta: float = 1.0
    """Where smooth_l1 becomes absolute, greater than 0."""
    heads: tuple[HeadConfig, ...] = ()
    """Instead of target.kind and loss: several things that are predicted, each from a stage, as
    `{stage: 2, target: hog, loss: l2, weight: 1.0, cell_size: 8}`; their losses are added up."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """Optimiser and learning rate."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """When, where and how often."""
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    """Decoder."""
    recipe: Recipe = "official"
    """Whether the official code's quirks are kept, as its published numbers have them: official; or
    put right: corrected. They are of weight decay and learning rate; a run names its own."""
    progressive: tuple[ProgressiveConfig, ...] = ()
    """Smaller images in the first epochs, which take less time, as `{until_epoch: 100, img_size:
    128}`, one after another; then model.img_size. What is measured has that size always."""

    def __post_init__(self) -> None:
        _require_seed(self.seed)
        require_finite(self)
        self._require_progressive()
        training, data = self.training, self.data
        require(self.loss_beta > 0, f"loss_beta={self.loss_beta} must be greater than 0")
        single = {"target.kind": (self.target.kind, "pixels"), "loss": (self.loss, "l1")}
        for name, (value, usual) in single.items() if self.heads else ():
            require(
                value == usual,
                f"{name}={value} beside heads, each of which has its own; leave out one of the two",
            )
        kinds = [head.target for head in self.heads] or [self.target.kind]
        require(
            self.target.teacher is None or not {"teacher", "teacher_pooled"}.isdisjoint(kinds),
            f"target.teacher={self.target.teacher} goes with target.kind=teacher or teacher_pooled;"
            " give both, or leave it out",
        )
        require(
            training.ema_decay is None,
            f"training.ema_decay={training.ema_decay} goes with fine-tuning; leave it out",
        )
        require(
            self.mask.token != "none" or training.compile == "off",
            f"training.compile={training.compile} makes code for one shape, and with "
            "mask.token=none shapes are others in each step; give compile=off, or another token",
        )
        neighbours = data.labelled_shards is not None and training.monitor_every_epochs > 0
        require(
            training.best != "knn" or neighbours,
            "training.best=knn needs data.labelled_shards, and training.monitor_every_epochs above "
            "0; give both, or training.best=none",
        )
        require(
            training.best != "heldout_loss" or data.val_shards is not None,
            "training.best=heldout_loss needs data.val_shards; give them, or training.best=none",
        )
        require(
            training.best in ("none", "knn", "heldout_loss"),
            f"training.best={training.best} goes with fine-tuning; pretraining has none, knn and "
            "heldout_loss: choose one of them",
        )

    def _require_progressive(self) -> None:
        ends, training = [one.until_epoch for one in self.progressive], self.training
        require(
            ends == sorted({*ends}) and max(ends, default=0) < self.optim.epochs,
            f"progressive until epochs {ends}: each must be later than the one before, and the "
            f"last earlier than optim.epochs={self.optim.epochs}",
        )
        given = {
            "training.strategy": (training.strategy, "ddp"),
            "training.compile": (training.compile, "off"),
            "data.dtype": (self.data.dtype, None),
        }
        for name, (value, usual) in given.items() if self.progressive else ():
            said = "null" if usual is None else usual
            require(
                value == usual,
                f"{name}={value} beside progressive, which goes with {name}={said}; leave out one "
                "of the two",
            )


@dataclass(frozen=True)
class FinetuneConfig:
    """A fine-tuning run."""

    run_dir: str = field(metadata=LAYOUT)
    """Folder of the run; the same folder goes on where it stopped."""
    data: LabelledDataConfig
    """Labelled images."""
    num_classes: int | None = None
    """Classes, numbered from 0; null: as many as the shards' classes.json names, or else as their
    labels say."""
    encoder: str | None = None
    """encoder.safetensors, a run's folder, timm:NAME, timm:NAME:FILE, or a file or folder with an
    encoder of timm, transformers, torchvision or others; null: from scratch."""
    encoder_channels: ChannelRule | None = None
    """How patches take what an encoder of other channels learned: "repeat", its channels in turn,
    scaled; "average", all alike; "zero", the first as they are, others from 0; null: refused."""
    seed: int = 0
    """Seed of everything drawn, 0 or more."""
    task: Literal["single-label", "multi-label", "regression"] = "single-label"
    """What is learned: one class of each image, any number of classes, or one or more numbers."""
    regression_loss: Literal["l1", "mse", "smooth_l1"] = "smooth_l1"
    """Of regression: what is minimised, of numbers less their mean over their deviation."""
    model: ModelConfig = field(default_factory=lambda: ModelConfig(drop_path_rate=0.1))
    """Network; what is not given is the encoder's, and only img_size, window_size and
    drop_path_rate may be others."""
    finetune: FinetuningConfig = field(default_factory=FinetuningConfig)
    """Loss, and what of the network is trained."""
    optim: FinetuneOptimConfig = field(default_factory=FinetuneOptimConfig)
    """Optimiser, learning rate and mixing."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """When, where and how often."""
    recipe: Recipe = "official"
    """Whether the official code's quirks are kept, as its published numbers have them: official; or
    put right: corrected. They are of weight decay and learning rate; a run names its own."""

    def __post_init__(self) -> None:
        _require_seed(self.seed)
        require_finite(self)
        require(
            self.num_classes is None or self.num_classes >= (1 if self.task == NUMBERS else 2),
            f"num_classes={self.num_classes} must be 2 or more",
        )
        head_epochs, epochs = self.finetune.head_epochs, self.optim.epochs
        require(
            head_epochs < epochs,
            f"finetune.head_epochs={head_epochs} must be less than optim.epochs={epochs}",
        )
        best = self.training.best
        require(
            best != "knn",
            "training.best=knn goes with pretraining; fine-tuning has top1, balanced_top1, auroc "
            "and heldout_loss: choose one of them",
        )
        require(
            best == "none" or self.data.val_shards is not None,
            f"training.best={best} needs data.val_shards; give them, or training.best=none",
        )
        require(
            (self.data.sampling, self.finetune.class_weights) != ("balanced", "balanced"),
            "data.sampling=balanced and finetune.class_weights=balanced would count rare classes "
            "twice; give one of the two",
        )
        require(
            self.task == SINGLE or self.data.num_labels is None,
            f"data.num_labels={self.data.num_labels} draws as many images of each class, and "
            f"task={self.task} has no one class of each image; leave it out",
        )
        asked = {
            "data.sampling": (self.data.sampling, "uniform"),
            "finetune.class_weights": (self.finetune.class_weights, "none"),
            "finetune.loss": (self.finetune.loss, "cross_entropy"),
        }
        others = [f"{name}={value}" for name, (value, usual) in asked.items() if value != usual]
        others += [f"training.best={best}"] if best not in ("none", "heldout_loss") else []
        require(
            self.task == SINGLE or not others,
            f"{', '.join(others)}: goes with one class of each image, and task={self.task} has "
            "none; leave it out",
        )

    @property
    def counted_classes(self) -> int:
        """The number of classes, once it is settled; 2 at least."""
        assert self.num_classes is not None
        return self.num_classes


RunConfig = PretrainConfig | FinetuneConfig

# kind of run, which is also the command that starts one -> its config
KINDS: dict[str, type[RunConfig]] = {"pretrain": PretrainConfig, "finetune": FinetuneConfig}


def kind_of(config: RunConfig) -> str:
    """Return the kind of run that a config is of."""
    return next(kind for kind, its_config in KINDS.items() if isinstance(config, its_config))


def begins_with(config: RunConfig) -> tuple[str, str | None]:
    """Return the setting that names the weights a run begins with, and its value, if it has one."""
    if isinstance(config, FinetuneConfig):
        return "encoder", config.encoder
    return "init", config.init


@dataclass(frozen=True)
class LifeOptions:
    """What one life of a run is told beside the config."""

    resume_from: Path | None = None
    """Checkpoint to change a run on purpose."""
    dry_run: bool = False
    """Take a few steps; say what would be trained, how fast, and with how much memory."""
    find_micro_batch: bool = False
    """Try sizes of micro-batches on this device; say the largest that fits."""
