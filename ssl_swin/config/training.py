"""What a run is: when, where and how often."""

from dataclasses import dataclass
from typing import Literal

from ssl_swin.config.settings import layout_setting, newer_setting, require, require_all


@dataclass(frozen=True)
class TrainingConfig:
    """When, where and how often."""

    global_batch_size: int = 2048
    """Images in one optimiser step over all processes."""
    micro_batch_size: int = layout_setting(128)
    """Most images a process puts through the network at once; accumulation is derived."""
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = "fp32"
    """bf16 and fp16 (V100, T4) are autocast: weights, loss and optimiser stay float32."""
    tf32: bool = False
    """Multiply float32 faster on GPUs (A100 and newer), with factors rounded to 10 bits."""
    accelerator: Literal["auto", "cpu", "gpu"] = layout_setting("auto")
    """Where to train; auto takes a GPU if there is one."""
    devices: int = layout_setting(1)
    """Training processes on each node."""
    num_nodes: int = layout_setting(1)
    """Machines."""
    num_threads: int | None = layout_setting(None)
    """CPU threads per training process; null: the cores, shared out."""
    fused_attention: Literal["auto", "on", "off"] = layout_setting("auto")
    """Attention in one kernel; auto: on a GPU. Moves numbers within rounding."""
    activation_checkpointing: bool = layout_setting(False)
    """Keep each block's input alone and compute it again: less memory, a third more time."""
    compile: Literal["off", "default", "reduce-overhead"] = layout_setting("off")
    """Compile each block for training, by torch's mode; reduce-overhead: in CUDA graphs, too."""
    reduce_precision: Literal["same", "bf16"] = "same"
    """In what gradients are added up over processes."""
    strategy: Literal["ddp", "fsdp"] = layout_setting("ddp")
    """What ranks share: ddp, gradients; fsdp, weights and moments too, where memory is short."""
    deterministic: bool = False
    """Bit-equal repeats on CUDA, slower."""
    max_bad_steps: int = layout_setting(10)
    """Steps in a row whose loss or gradient may be not finite; they change nothing."""
    checkpoint_every_steps: int = layout_setting(1000)
    """Steps between checkpoints; 0 for none."""
    checkpoint_every_min: float = layout_setting(15.0)
    """Minutes between checkpoints; 0 for none."""
    async_checkpoint: bool = layout_setting(False)
    """Write checkpoints in the background, from a copy in main memory."""
    keep_every_epochs: int = layout_setting(0)
    """Keep a checkpoint and its encoder after so many epochs; 0 keeps the last only."""
    ema_decay: float | None = None
    """Decay of a moving average of the weights, which is measured and handed off in their place,
    such as 0.9998; null: none. Fine-tuning only."""
    best: Literal["none", "knn", "heldout_loss", "top1", "balanced_top1", "auroc"] = layout_setting(
        "none"
    )
    """Keep the checkpoint of the highest kNN accuracy, with its encoder (pretraining); of the
    highest top-1, top-1 balanced over the classes or AUROC (fine-tuning, whose none is top1; of
    several classes mAP, of numbers R2); or of the lowest held-out loss, which need not be the best
    encoder."""
    validate_every_epochs: int = layout_setting(1)
    """Epochs between held-out measurements."""
    monitor_every_epochs: int = newer_setting(1, before=0, layout=True)
    """Epochs between looks at the quality of features, or more, so that they take less than 2 % of
    the time; 0 for none. Pretraining only."""
    log_every_steps: int = layout_setting(20)
    """Steps between points in TensorBoard, or fewer, so that a run has ten."""
    loggers: tuple[Literal["tensorboard", "wandb", "mlflow", "csv"], ...] = layout_setting(
        ("tensorboard",)
    )
    """Where points go beside metrics.jsonl, which is always written."""
    panel_every_epochs: int = layout_setting(1)
    """Epochs between picture panels; 0 for none but the last. Pretraining only."""
    ledger: bool = layout_setting(False)
    """Write which images each step used."""
    step_timeout_s: float = layout_setting(1800.0)
    """Seconds without a step, held-out batch or save after which a process ends; 0 for none."""

    def __post_init__(self) -> None:
        require(
            (self.strategy, self.compile) != ("fsdp", "reduce-overhead"),
            "training.compile=reduce-overhead needs weights that stay in their place, and "
            "training.strategy=fsdp gathers them anew for each block; use compile=default or off",
        )
        require(
            not (self.activation_checkpointing and self.compile == "reduce-overhead"),
            "training.compile=reduce-overhead records what is kept for the backward, and "
            "training.activation_checkpointing keeps nothing: torch fails at both; use "
            "compile=default",
        )
        counts = ("global_batch_size", "micro_batch_size", "devices", "num_nodes", "num_threads")
        intervals = ("validate_every_epochs", "log_every_steps")
        require_all("be greater than 0", "training", self, *counts, *intervals)
        decay = self.ema_decay
        require(
            decay is None or 0 < decay < 1,
            f"training.ema_decay={decay} must lie between 0 and 1, or be null for no average",
        )
        saves = ("checkpoint_every_steps", "checkpoint_every_min")
        others = ("max_bad_steps", "monitor_every_epochs", "step_timeout_s")
        require_all("be 0 or more", "training", self, *saves, *others)
