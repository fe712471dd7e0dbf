"""What the points of a run are called in TensorBoard, and what they tell: one table."""

from collections.abc import Mapping
from typing import NamedTuple

TRAIN, HELDOUT = "train", "held-out"  # the runs that TensorBoard shows of a run folder


class Tag(NamedTuple):
    """Where TensorBoard shows a point."""

    run: str
    """`TRAIN` or `HELDOUT`: one name in both is one chart with two curves."""
    name: str
    """Groups are in the order of the alphabet, and the first two are open."""
    description: str
    """What it is, with its unit; Markdown."""


TAGS = {
    "train/loss": Tag(
        TRAIN,
        "loss",
        "What is minimised, over the images of one step. Pretraining: error of a hidden pixel, in "
        "standard deviations of the pixels. Fine-tuning: cross-entropy with mixed and smoothed "
        "labels, nats.",
    ),
    "heldout/heldout_loss": Tag(
        HELDOUT,
        "loss",
        "The same over images that are never trained on. Pretraining: always with the same masks. "
        "Fine-tuning: with plain labels and no augmentation, so it may lie below the other.",
    ),
    "heldout/top1": Tag(
        HELDOUT, "metrics/top1", "Held-out images whose class came first, per cent."
    ),
    "heldout/top5": Tag(
        HELDOUT, "metrics/top5", "Held-out images whose class was among the first five, per cent."
    ),
    "heldout/best_top1": Tag(HELDOUT, "metrics/top1_best", "Largest top-1 so far, per cent."),
    "heldout/balanced_top1": Tag(
        HELDOUT, "metrics/top1_balanced", "Top-1 of each class, mean over the classes, per cent."
    ),
    "heldout/bad_samples": Tag(
        HELDOUT, "trouble/bad_samples", "Held-out images that cannot be decoded and are left out."
    ),
    "lr": Tag(TRAIN, "optimiser/lr", "Learning rate; of layer-wise rates that of the head."),
    "lr_lowest": Tag(
        TRAIN, "optimiser/lr_lowest", "The lowest of layer-wise learning rates: the stem's."
    ),
    "train/grad_norm": Tag(
        TRAIN, "optimiser/grad_norm", "Length of the whole gradient, before it is clipped."
    ),
    "train/loss_scale": Tag(
        TRAIN, "optimiser/loss_scale", "What fp16 multiplies the loss with; a power of two."
    ),
    "train/epoch": Tag(TRAIN, "progress/epoch", "Epochs done."),
    "train/samples_seen": Tag(
        TRAIN, "progress/samples_seen", "Images trained on, over all epochs."
    ),
    "speed/images_per_s": Tag(
        TRAIN, "speed/images_per_s", "Images trained on in a second, by all processes."
    ),
    "speed/data_wait_share": Tag(
        TRAIN,
        "speed/data_wait_share",
        "Share of the time in which the device waits for images, 0 to 1. Above 0.1: "
        "`ssl-swin doctor`.",
    ),
    "memory/peak_resident_gb": Tag(
        TRAIN, "speed/peak_memory_resident_gb", "Most main memory that a process held, GB."
    ),
    "memory/peak_allocated_gb": Tag(
        TRAIN, "speed/peak_memory_allocated_gb", "Most GPU memory in tensors of a process, GB."
    ),
    "memory/peak_reserved_gb": Tag(
        TRAIN, "speed/peak_memory_reserved_gb", "Most GPU memory that a process took, GB."
    ),
    "data/bad_samples": Tag(
        TRAIN,
        "trouble/bad_samples",
        "Images that could not be decoded; others stood in for them. Named in `bad_samples.jsonl`.",
    ),
    "train/bad_steps": Tag(
        TRAIN, "trouble/bad_steps", "Steps whose loss or gradient was not finite; they count not."
    ),
    "train/overflow_steps": Tag(
        TRAIN, "trouble/overflow_steps", "Steps that fp16's loss scale left out, and mended."
    ),
}
"""Name in `metrics.jsonl` -> where TensorBoard shows it; see `shown` for the two of `lr`."""

CHARTS = {
    "Loss": {"training and held-out": ["^loss$"]},
    "Metrics": {"top-1, per cent": ["^metrics/top1"]},
    "Optimiser": {
        "learning rates": ["^optimiser/lr"],
        "gradient norm": ["^optimiser/grad_norm$"],
    },
    "Speed": {
        "images per second": ["^speed/images_per_s$"],
        "memory at the peak, GB": ["^speed/peak_memory"],
    },
}
"""The tab Custom Scalars: group -> chart -> patterns of its tags."""

NOT_SHOWN = ("heldout/best_heldout_loss",)
"""Points that a curve beside them tells already."""

HPARAMS = (
    *("seed", "encoder", "num_classes", "model.name", "model.img_size", "model.drop_path_rate"),
    *("mask.mask_patch_size", "mask.mask_ratio", "target.kind", "loss", "data.num_labels"),
    *("optim.epochs", "optim.base_lr", "optim.warmup_epochs", "optim.weight_decay"),
    *("optim.layer_decay", "optim.mixup", "training.global_batch_size", "training.precision"),
)
"""Settings in the table of the tab HParams, beside what was last measured."""


def shown(points: Mapping[str, float]) -> list[tuple[Tag, float]]:
    """Return where TensorBoard shows these points.

    Each layer has its learning rate, a fixed share of the head's: the highest and lowest are shown.
    """
    rates = [value for name, value in points.items() if name.startswith("lr/")]
    found = {
        name: value
        for name, value in points.items()
        if not name.startswith("lr/") and name not in NOT_SHOWN
    }
    if rates:
        found["lr"] = max(rates)
        if min(rates) < max(rates):
            found["lr_lowest"] = min(rates)
    return [(TAGS.get(name) or _unlisted(name), value) for name, value in found.items()]


def _unlisted(name: str) -> Tag:
    """Return where a point is shown that has no line in the table."""
    group, _, rest = name.partition("/")
    return Tag(HELDOUT, f"metrics/{rest}", "") if group == "heldout" else Tag(TRAIN, name, "")
