"""What every setting of a run changes, and where that is seen."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch

from ssl_swin.config.data import IMAGENET_MEAN, IMAGENET_STD, SetConfig
from ssl_swin.config.model import HeadConfig
from ssl_swin.data.order.balanced import BalancedOrder
from ssl_swin.models.masking import random_mask
from tests.runs.beside import MEASURED, labels_beside, stats_beside
from tests.runs.decoders import of_decoders
from tests.runs.teachers import of_teachers
from tests.runs.vits import of_vits

BATCH, STEPS = 24, 2  # images of a step, steps of an epoch


@dataclass(frozen=True)
class Effect:
    """A setting's other value, where to look for it, and what is there then."""

    value: Any
    look: Callable[[Any], Any]
    there: Any = None
    """None for the value itself."""
    beside: tuple[tuple[str, Any], ...] = ()
    """Settings that it needs beside it."""


@dataclass(frozen=True)
class Refused:
    """A setting's other value, and what is said of it."""

    value: Any
    said: str


def at(path):
    return attrgetter(path)


def curve(name, value, there=None, **beside):
    others = tuple((f"optim.{key}", other) for key, other in beside.items())
    return Effect(value, at(f"run.module.schedule.curve.{name}"), there, others)


def training(name, value, path):
    return {f"training.{name}": Effect(value, at(path))}


def of_groups(option, group):
    """An option of one of the optimiser's groups, as AdamW will read it."""
    return lambda seen: next(one[option] for one in groups(seen) if one["name"].endswith(group))


def groups(seen):
    return seen.optimizer.param_groups


def channels(name):
    return lambda seen: tuple(getattr(seen.run.module.normalise, name).flatten().tolist())


def drop_path(seen):
    rates = [getattr(one, "drop_prob", 0) for one in seen.run.module.network.modules()]
    return max(rate for rate in rates if rate is not None)


def error(seen):
    return float(seen.run.module.network.heads[0].loss(torch.zeros(1), torch.ones(1)).sum())


def target(images):
    return lambda seen: seen.run.module.network.target(images).tolist()


def a_block(seen):
    return seen.run.module.network.encoder.blocks()[0]


def switch(name, value):
    return Effect(value, lambda seen: seen.run.module.network.encoder.architecture()[name])


def frozen(seen):
    """The parts of the encoder that are not trained."""
    encoder = seen.run.module.network.encoder
    trained = {name for group in groups(seen) for name in group["param_names"]}
    names = [name for name, _ in encoder.named_parameters()]
    return {encoder.stage_of(name) for name in names if f"encoder.{name}" not in trained}


def author(seen):
    """The package that the network's code is from."""
    return type(seen.run.module.network.encoder.backbone).__module__.partition(".")[0]


def is_checkpointed(seen):
    return seen.run.module.network.encoder.backbone.layers[0].grad_checkpointing


IMAGE = torch.arange(3 * 8 * 8.0).view(1, 3, 8, 8)
NORM = (("target.kind", "normalised_pixels"),)
transform, schedule = "run.stream.renderer.transform", "run.module.schedule"


ARCHITECTURE = "the checkpoint is of another architecture"


def bands(name):
    return at(f"run.stream.renderer.reading.bands.{name}")


# What measured numbers, and numbers as they are, need beside.
MEAN_LEFT_OUT = (("data.mean", IMAGENET_MEAN), ("data.std", IMAGENET_STD))
AS_THEY_ARE = (
    ("data.dtype", "uint8"),
    *(("data.mean", (1.0, 2.0, 3.0)), ("data.std", (1.0, 1.0, 1.0)), ("data.rand_augment", "")),
)


def effects(shards, other):
    """What each setting does; `other` are other shards."""
    sets = (SetConfig(str(shards), 3.0), SetConfig(str(other), 1.0))
    mixed = (("data.shards", None), ("data.sets", sets))
    return {
        "run_dir": Effect("other", lambda seen: str(seen.run.start.folder.root)),
        "seed": Effect(7, lambda seen: {seen.run.order.seed, at(f"{transform}.seed")(seen)}, {7}),
        "num_classes": Refused(11, ARCHITECTURE),
        "task": Effect("multi-label", at("run.stream.labels.task")),
        "encoder_channels": Effect("repeat", at("run.config.encoder_channels")),
        "regression_loss": Effect("l1", at("run.config.regression_loss")),
        "init": Refused("elsewhere", "the run began with init=None, this config says"),
        "encoder": Refused("elsewhere", "the run began with encoder=None, this config says"),
        "loss": Effect("twice", error, 2.0),
        "data.shards": Effect(str(other), lambda seen: seen.opened[0][0]),
        "data.val_shards": Effect(str(other), lambda seen: seen.opened[-1][0]),
        "data.labelled_shards": Effect(str(other), lambda seen: seen.opened[-1][0]),
        "data.labels": Effect(
            str(labels_beside(other)), lambda seen: seen.run.stream.shards.given.file
        ),
        "data.sets": Effect(sets, at("run.order.weights"), (3.0, 1.0), mixed[:1]),
        "data.samples_per_epoch": Effect(72, at("run.order.steps_per_epoch"), 3, mixed),
        "data.mean": Effect((0.25, 0.5, 0.75), channels("mean")),
        "data.std": Effect((0.25, 0.5, 0.75), channels("std")),
        "data.crop_scale": Effect((0.3, 0.4), at(f"{transform}.scale")),
        "data.crop_ratio": Effect((0.9, 1.1), at(f"{transform}.ratio")),
        "data.interpolation": Effect("bilinear", at(f"{transform}.interpolation")),
        "data.decoder": Effect("pil", at("run.stream.renderer.reading.decoder")),
        "data.hflip": Effect(0.25, at(f"{transform}.hflip")),
        "data.vflip": Effect(0.25, at(f"{transform}.vflip")),
        "data.quarter_turns": Effect(True, at(f"{transform}.quarter_turns")),
        "data.stats": Effect(stats_beside(other), channels("mean"), MEASURED, MEAN_LEFT_OUT),
        "data.dtype": Effect("uint8", bands("dtype"), beside=AS_THEY_ARE[1:]),
        "data.channels": Effect((2, 1, 0), bands("channels"), beside=AS_THEY_ARE),
        "data.picture_channels": Effect((1,), bands("shown"), beside=AS_THEY_ARE),
        "data.channel_axis": Effect("last", bands("channel_axis"), beside=AS_THEY_ARE),
        "data.nodata": Effect(0.0, bands("nodata"), beside=AS_THEY_ARE),
        "data.crop_pct": Effect(
            0.5, at("run.datamodule.heldout.stream.renderer.transform.crop_pct")
        ),
        "data.num_workers": Effect(3, at("run.datamodule.num_workers")),
        "data.num_lanes": Effect(3, at("run.order.num_lanes")),
        "data.block_size": Effect(5, at("run.order.block_size")),
        "data.max_bad_share": Effect(0.5, at("calls.BadSamples.max_share")),
        "data.cache_dir": Effect("cache", lambda seen: str(seen.opened[0][1])),
        "data.cache_gb": Effect(2.5, lambda seen: seen.opened[0][2]),
        "data.max_pixels": Effect(10**6, at("run.stream.renderer.reading.max_pixels")),
        "data.black": Effect(9.0, at("run.stream.renderer.reading.black")),
        "data.white": Effect(1023.0, at("run.stream.renderer.reading.white")),
        "data.label_field": Effect("kind", at("run.stream.labels.field")),
        "data.num_labels": Effect(30, at("run.order.num_samples")),
        "data.sampling": Effect("balanced", lambda seen: type(seen.run.order), BalancedOrder),
        "data.rand_augment": Effect("rand-m1", at(f"{transform}.rand_augment")),
        "data.erasing": Effect(0.5, at(f"{transform}.erasing")),
        "data.erasing_draws": Effect("numpy", at("run.module.erasing.draws")),
        "model.name": Effect(
            "swin_small_patch4_window7_224",
            lambda seen: seen.run.module.network.encoder.architecture()["name"],
        ),
        "model.img_size": Effect(64, at("run.stream.img_size")),
        "model.patch_size": Refused(2, ARCHITECTURE),
        "model.window_size": Refused(2, ARCHITECTURE),
        "model.pretrained_window_sizes": Refused(4, "a Swin has no pretrained_window_sizes"),
        "model.embed_dim": Refused(8, ARCHITECTURE),
        "model.depths": Refused((2, 2), ARCHITECTURE),
        "model.num_heads": Refused((1, 4), ARCHITECTURE),
        "model.drop_path_rate": Effect(0.25, drop_path),
        "model.shift": switch("shift", "none"),
        "model.position": Refused("absolute", ARCHITECTURE),
        "model.mixer": Refused("mlp", ARCHITECTURE),
        "model.padding": switch("padding", "masked"),
        "model.implementation": Effect("timm", author),
        **of_vits(Refused),
        "mask.kind": Effect("toy", lambda seen: seen.run.module.masking.kind is random_mask, False),
        "mask.mask_patch_size": Effect(16, at("run.module.masking.mask_patch_size")),
        "mask.mask_ratio": Effect(0.25, at("run.module.masking.mask_ratio")),
        **of_decoders(Effect, Refused, ARCHITECTURE),
        "target.kind": Effect(
            NORM[0][1], lambda seen: target(IMAGE)(seen) == IMAGE.tolist(), False
        ),
        "target.norm_size": Effect(3, lambda seen: norm_of(seen), 3, NORM),
        "target.cell_size": Effect(4, at("run.config.target.cell_size")),
        "target.hog_bins": Effect(4, at("run.config.target.hog_bins")),
        **of_teachers(Effect, Refused),
        "loss_beta": Effect(2.0, error, 0.25, (("loss", "smooth_l1"),)),
        "heads": Refused((HeadConfig(2),), ARCHITECTURE),
        "optim.epochs": Effect(9, lambda seen: seen.run.sizes.stop_step / STEPS),
        "optim.warmup_epochs": curve("warmup_steps", 2, 2 * STEPS),
        "optim.schedule": curve("schedule", "multistep"),
        "optim.warmup_prefix": curve("warmup_prefix", True),
        "recipe": curve("lags", "corrected", False),
        "optim.milestones": curve("milestones", (1, 2), (STEPS, 2 * STEPS), schedule="multistep"),
        "optim.gamma": curve("gamma", 0.5, schedule="multistep"),
        "optim.base_lr": curve("base_lr", 0.512, 0.512 * BATCH / 512),
        "optim.warmup_lr": curve("warmup_lr", 0.0512, 0.0512 * BATCH / 512),
        "optim.min_lr": curve("min_lr", 0.00512, 0.00512 * BATCH / 512),
        "optim.weight_decay": Effect(
            0.5, lambda seen: max(g["weight_decay"] for g in groups(seen))
        ),
        "optim.betas": Effect((0.5, 0.75), of_groups("betas", "no_decay")),
        "optim.clip_grad": Effect(0.125, at(f"{schedule}.clip_grad")),
        "optim.layer_decay": Effect(
            0.5, lambda seen: max(g["lr_scale"] for g in groups(seen) if g["lr_scale"] < 1)
        ),
        **{
            f"optim.{name}": Effect(0.375, at(f"run.module.regularise.{name}"))
            for name in ("mixup", "cutmix", "label_smoothing")
        },
        "finetune.loss": Effect("focal", at("run.module.class_loss.gamma"), 2.0),
        "finetune.focal_gamma": Effect(
            0.5, at("run.module.class_loss.gamma"), beside=(("finetune.loss", "focal"),)
        ),
        "finetune.class_weights": Effect(
            "balanced", lambda seen: len(seen.run.module.class_loss.weights), 10
        ),
        "finetune.head_epochs": Effect(1, at("run.module.head_steps"), STEPS),
        "finetune.freeze": Effect(1, frozen, {"stem", "stage1"}),
        **training("global_batch_size", 12, f"{schedule}.global_batch_size"),
        **training("micro_batch_size", 4, "run.datamodule.heldout.batch_size"),
        **training("precision", "fp64", "hardware.precision"),
        **training("tf32", True, "hardware.tf32"),
        **training("accelerator", "gpu", "hardware.accelerator"),
        **training("devices", 2, "hardware.devices"),
        **training("num_nodes", 2, "hardware.num_nodes"),
        **training("num_threads", 2, "threads"),
        **training("strategy", "fsdp", "hardware.strategy"),
        **training("deterministic", True, "hardware.deterministic"),
        "training.fused_attention": Effect("on", lambda seen: a_block(seen).attn.fused_attn, True),
        "training.activation_checkpointing": Effect(True, is_checkpointed),
        "training.compile": Effect("default", lambda seen: "forward" in vars(a_block(seen)), True),
        **training("reduce_precision", "bf16", "hardware.reduce_precision"),
        **training("checkpoint_every_steps", 7, "calls.Checkpoints.every_steps"),
        "training.best": Effect("heldout_loss", at("run.module.best_metric"), "best_heldout_loss"),
        **training("ema_decay", 0.5, "run.module.average.decay"),
        **training("async_checkpoint", True, "calls.Checkpoints.writer.background"),
        "training.loggers": Effect(
            ("csv",), lambda seen: tuple(one.name for one in seen.loggers[1:])
        ),
        **training("log_every_steps", 2, "calls.Scalars.every_steps"),
        **training("step_timeout_s", 77.0, "calls.Watchdog.timeout_s"),
        **training("max_bad_steps", 4, "calls.BadSteps.most_in_a_row"),
        "training.checkpoint_every_min": Effect(2.0, at("calls.Meeting.save_every_s"), 120.0),
        "training.ledger": Effect(False, lambda seen: hasattr(seen.calls, "Ledger")),
        **{
            f"training.{name}_every_epochs": Effect(2, at(f"calls.{where}"), 2 * STEPS)
            for name, where in (
                ("keep", "Checkpoints.keep_every_steps"),
                ("validate", "Measurement.every_steps"),
                ("panel", "Panels.every_steps"),
                ("monitor", "Monitors.monitored.every_steps"),
            )
        },
    }


def norm_of(seen):
    """The side of the square that the target looks at: the middle pixel's, of one bright pixel."""
    images = torch.zeros(1, 1, 9, 9)
    images[..., 4, 4] = 1.0
    return int((seen.run.module.network.target(images)[0, 0, 4] != 0).sum())


# Settings that do nothing in one kind of run, as their help says, and what is not there then.
WITHOUT_EFFECT = {
    ("finetune", f"training.{name}_every_epochs"): callback
    for name, callback in (("panel", "Panels"), ("monitor", "Monitors"))
}

# Settings that one kind of run refuses, and what is said.
REFUSED = {
    ("finetune", "data.labelled_shards"): "goes with pretraining",
    ("pretrain", "training.ema_decay"): "goes with fine-tuning",
    ("pretrain", "data.labels"): "goes with data.labelled_shards",
}
