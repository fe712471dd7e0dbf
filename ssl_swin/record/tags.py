"""What the points of a run are called in TensorBoard, and what they tell: one table."""

import re
from collections.abc import Collection, Mapping
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
    "heldout/best_balanced_top1": Tag(
        HELDOUT, "metrics/top1_balanced_best", "Largest balanced top-1 so far, per cent."
    ),
    "heldout/auroc": Tag(
        HELDOUT,
        "metrics/auroc",
        "Area under the ROC curve, each class against the rest, mean over the classes, 0 to 1.",
    ),
    "heldout/best_auroc": Tag(HELDOUT, "metrics/auroc_best", "Largest AUROC so far, 0 to 1."),
    "heldout/map": Tag(
        HELDOUT,
        "metrics/map",
        "Several classes: average precision of each class, mean over the classes, per cent.",
    ),
    "heldout/best_map": Tag(HELDOUT, "metrics/map_best", "Largest mAP so far, per cent."),
    "heldout/macro_f1": Tag(
        HELDOUT, "metrics/macro_f1", "Several classes: F1 of each, at 0.5, mean, per cent."
    ),
    "heldout/mae": Tag(
        HELDOUT, "metrics/mae", "Regression: mean absolute error, in the units of the labels."
    ),
    "heldout/r2": Tag(
        HELDOUT, "metrics/r2", "Regression: share of the variance that is explained, 1 at best."
    ),
    "heldout/best_r2": Tag(HELDOUT, "metrics/r2_best", "Largest R2 so far."),
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
    "train/img_size": Tag(
        TRAIN,
        "progress/img_size",
        "Images that grow: the side of a square with as many pixels.",
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
    "speed/mfu": Tag(
        TRAIN,
        "speed/mfu",
        "Model FLOP/s utilisation, per cent: products and attention that a step needs, forward and "
        "backward, of what the GPUs of the run can do by their data sheet in this precision.",
    ),
    "gpu/utilisation": Tag(
        TRAIN,
        "speed/gpu_utilisation",
        "Share of the time in which the first GPU computes anything, per cent, by NVML.",
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

PREFIXES = {
    "train/loss_stage": Tag(
        TRAIN,
        "stages/loss_of_stage",
        "Of several heads the loss of one, from this stage and of this target, without its weight.",
    ),
    "heldout/heldout_loss_stage": Tag(
        HELDOUT, "stages/loss_of_stage", "The same over images that are never trained on."
    ),
    "norm/gradient_": Tag(
        TRAIN, "stages/gradient_norm_", "Length of this stage's gradient, before it is clipped."
    ),
    "norm/parameter_": Tag(TRAIN, "stages/weight_norm_", "Length of the weights of this stage."),
    "norm/update_": Tag(
        TRAIN,
        "stages/update_norm_",
        "Length of what one step changed in the weights of this stage.",
    ),
    "quality/knn": Tag(
        HELDOUT,
        "metrics/knn",
        "Labelled images whose neighbours tell their class, per cent; frozen features.",
    ),
    "quality/rankme": Tag(
        HELDOUT,
        "metrics/rankme",
        "RankMe: effective rank of features, in dimensions; a random network has more.",
    ),
    "quality/feature_std": Tag(
        HELDOUT,
        "metrics/feature_std",
        "Standard deviation of a channel over images; 0 is a collapse, 1 the most.",
    ),
    "quality/mean_cosine": Tag(
        HELDOUT,
        "metrics/mean_cosine",
        "Cosine of the features of two images, mean, -1 to 1; 1 is a collapse.",
    ),
    "lr/": Tag(TRAIN, "optimiser/lr_of_", "Learning rate of this layer, counted from the stem."),
}
"""How the names of points begin of which there are as many as a network has parts."""

CHARTS = {
    "Training": {
        "loss, of pixels (standard deviations) or labels (nats)": ["^loss$"],
        "loss of each head, as its target and loss are": ["^stages/loss_of_"],
        "learning rates, no unit": ["^optimiser/lr$", "^optimiser/lr_of_"],
        "norm of the whole gradient, no unit": ["^optimiser/grad_norm$"],
        "gradient norm of each stage, no unit": ["^stages/gradient_norm_"],
        "weight norm of each stage, no unit": ["^stages/weight_norm_"],
        "norm of one update of each stage, no unit": ["^stages/update_norm_"],
    },
    "Quality": {
        "top-1, per cent": ["^metrics/top1"],
        "top-5, per cent": ["^metrics/top5"],
        "AUROC, 0 to 1": ["^metrics/auroc"],
        "several classes: mAP and F1, per cent": ["^metrics/map", "^metrics/macro_f1$"],
        "numbers: MAE, units of the labels": ["^metrics/mae$"],
        "numbers: R2, 1 at best": ["^metrics/r2"],
        "kNN accuracy, per cent": ["^metrics/knn"],
        "RankMe, dimensions": ["^metrics/rankme"],
        "standard deviation of features, no unit": ["^metrics/feature_std"],
        "mean cosine similarity, -1 to 1": ["^metrics/mean_cosine"],
    },
    "Speed": {
        "images per second": ["^speed/images_per_s$"],
        "MFU, per cent": ["^speed/mfu$"],
        "GPU utilisation, per cent": ["^speed/gpu_utilisation$"],
    },
    "Data": {
        "share of the time that waits for images, 0 to 1": ["^speed/data_wait_share$"],
        "epochs": ["^progress/epoch$"],
        "images that cannot be decoded, so far": ["^trouble/bad_samples$"],
    },
    "Memory": {"memory at the peak, GB": ["^speed/peak_memory"]},
}
"""The tab Custom Scalars: group -> chart, with its unit -> patterns of its tags."""

NOT_SHOWN = ("heldout/best_heldout_loss",)
"""Points that a curve beside them tells already."""

HPARAMS = (
    *("seed", "encoder", "num_classes", "model.name", "model.img_size", "model.drop_path_rate"),
    *(
        "mask.kind",
        "mask.mask_patch_size",
        "mask.mask_ratio",
        "target.kind",
        "loss",
        "data.num_labels",
    ),
    *("optim.epochs", "optim.base_lr", "optim.warmup_epochs", "optim.weight_decay"),
    *("optim.layer_decay", "optim.mixup", "training.global_batch_size", "training.precision"),
)
"""Settings in the table of the tab HParams, beside what was last measured."""


def shown(points: Mapping[str, float]) -> list[tuple[Tag, float]]:
    """Return where TensorBoard shows these points.

    Each layer has its learning rate, a fixed share of the head's: the highest and lowest are shown
    beside those of all layers, which are left out where they are one.
    """
    rates = {_layer(name): value for name, value in points.items() if name.startswith("lr/")}
    found = {
        name: value
        for name, value in points.items()
        if not name.startswith("lr/") and name not in NOT_SHOWN
    }
    if rates:
        found["lr"] = max(rates.values())
        if min(rates.values()) < max(rates.values()):
            found |= {"lr_lowest": min(rates.values()), **rates}
    return [(TAGS.get(name) or _unlisted(name), value) for name, value in found.items()]


def charts_of(tags: Collection[str]) -> dict[str, dict[str, list[str]]]:
    """Return those of `CHARTS` that have a curve."""
    found = {
        group: {
            title: patterns
            for title, patterns in charts.items()
            if any(re.search(pattern, tag) for pattern in patterns for tag in tags)
        }
        for group, charts in CHARTS.items()
    }
    return {group: charts for group, charts in found.items() if charts}


def _layer(name: str) -> str:
    """Return the name of a layer's rate, which is the same with weight decay and without."""
    name = name.removesuffix("_no_decay").removesuffix("_decay")
    return re.sub(r"\d+$", lambda number: f"{int(number[0]):02d}", name)


def _unlisted(name: str) -> Tag:
    """Return where a point is shown that has no line in the table."""
    for start, tag in PREFIXES.items():
        if name.startswith(start):
            return tag._replace(name=tag.name + name.removeprefix(start))
    group, _, rest = name.partition("/")
    return Tag(HELDOUT, f"metrics/{rest}", "") if group == "heldout" else Tag(TRAIN, name, "")
