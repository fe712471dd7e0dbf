"""`--resume-from` with a setting changed: it takes effect, or is refused. Every setting is here."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ssl_swin.config.data import SetConfig
from ssl_swin.config.settings import flatten, with_values
from ssl_swin.errors import UserError
from ssl_swin.models.losses import LOSSES
from ssl_swin.models.masking import MASKS, random_mask
from ssl_swin.runs import life, sizes
from ssl_swin.runs.build import build
from tests.training.launch import RGB, finetune_config, pretrain_config

BATCH, STEPS = 24, 2  # images of a step, steps of an epoch
KINDS = {"pretrain": pretrain_config, "finetune": finetune_config}


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
    return float(seen.run.module.network.loss(torch.zeros(1), torch.ones(1)).sum())


def target(images):
    return lambda seen: seen.run.module.network.target(images).tolist()


IMAGE = torch.arange(3 * 8 * 8.0).view(1, 3, 8, 8)
NORM = (("target.kind", "normalised_pixels"),)
transform, schedule = "run.stream.renderer.transform", "run.module.schedule"
ARCHITECTURE = "the checkpoint is of another architecture"


def effects(shards, other):
    """What each setting does; `other` are other shards."""
    sets = (SetConfig(str(shards), 3.0), SetConfig(str(other), 1.0))
    mixed = (("data.shards", None), ("data.sets", sets))
    return {
        "run_dir": Effect("other", lambda seen: str(seen.run.start.folder.root)),
        "seed": Effect(7, lambda seen: {seen.run.order.seed, at(f"{transform}.seed")(seen)}, {7}),
        "num_classes": Refused(11, ARCHITECTURE),
        "encoder": Refused("elsewhere", "the run began with encoder=None, this config says"),
        "loss": Effect("twice", error, 2.0),
        "data.shards": Effect(str(other), lambda seen: seen.opened[0][0]),
        "data.val_shards": Effect(str(other), lambda seen: seen.opened[-1][0]),
        "data.sets": Effect(sets, at("run.order.weights"), (3.0, 1.0), mixed[:1]),
        "data.samples_per_epoch": Effect(72, at("run.order.steps_per_epoch"), 3, mixed),
        "data.mean": Effect((0.25, 0.5, 0.75), channels("mean")),
        "data.std": Effect((0.25, 0.5, 0.75), channels("std")),
        "data.crop_scale": Effect((0.3, 0.4), at(f"{transform}.scale")),
        "data.crop_ratio": Effect((0.9, 1.1), at(f"{transform}.ratio")),
        "data.interpolation": Effect("bilinear", at(f"{transform}.interpolation")),
        "data.decoder": Effect("pil", at("run.stream.renderer.reading.decoder")),
        "data.hflip": Effect(0.25, at(f"{transform}.hflip")),
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
        "model.embed_dim": Refused(8, ARCHITECTURE),
        "model.depths": Refused((2, 2), ARCHITECTURE),
        "model.num_heads": Refused((1, 4), ARCHITECTURE),
        "model.drop_path_rate": Effect(0.25, drop_path),
        "mask.kind": Effect("toy", lambda seen: seen.run.module.masking.kind is random_mask, False),
        "mask.mask_patch_size": Effect(16, at("run.module.masking.mask_patch_size")),
        "mask.mask_ratio": Effect(0.25, at("run.module.masking.mask_ratio")),
        "target.kind": Effect(
            NORM[0][1], lambda seen: target(IMAGE)(seen) == IMAGE.tolist(), False
        ),
        "target.norm_size": Effect(3, lambda seen: norm_of(seen), 3, NORM),
        "optim.epochs": Effect(9, lambda seen: seen.run.sizes.stop_step / STEPS),
        "optim.warmup_epochs": curve("warmup_steps", 2, 2 * STEPS),
        "optim.schedule": curve("schedule", "multistep"),
        "optim.warmup_prefix": curve("warmup_prefix", True),
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
        "optim.layer_decay": Effect(1.0, of_groups("lr_scale", "layer_0_no_decay")),
        **{
            f"optim.{name}": Effect(0.375, at(f"run.module.regularise.{name}"))
            for name in ("mixup", "cutmix", "label_smoothing")
        },
        **training("global_batch_size", 12, f"{schedule}.global_batch_size"),
        **training("micro_batch_size", 4, "run.datamodule.heldout.batch_size"),
        **training("precision", "fp64", "hardware.precision"),
        **training("accelerator", "gpu", "hardware.accelerator"),
        **training("devices", 2, "hardware.devices"),
        **training("num_nodes", 2, "hardware.num_nodes"),
        **training("num_threads", 2, "threads"),
        **training("deterministic", True, "hardware.deterministic"),
        **training("checkpoint_every_steps", 7, "calls.Checkpoints.every_steps"),
        **training("async_checkpoint", True, "calls.Checkpoints.writer.background"),
        **training("log_every_steps", 9, "calls.Scalars.every_steps"),
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
            )
        },
    }


def norm_of(seen):
    """The side of the square that the target looks at: the middle pixel's, of one bright pixel."""
    images = torch.zeros(1, 1, 9, 9)
    images[..., 4, 4] = 1.0
    return int((seen.run.module.network.target(images)[0, 0, 4] != 0).sum())


# Settings that do nothing in one kind of run, as their help says.
WITHOUT_EFFECT = {("finetune", "training.panel_every_epochs")}


def settings(kind):
    return list(flatten(KINDS[kind](Path("run"), Path("shards"))))


EVERY = [(kind, name) for kind in KINDS for name in settings(kind)]


def test_every_setting_is_tried():
    tried = effects("shards", "other")
    assert {name for _, name in EVERY} == tried.keys()


@pytest.fixture(scope="module")
def shards(tiny_shards):
    return tiny_shards([30, 19], mode="RGB"), tiny_shards([30, 20], mode="RGB")


@pytest.fixture(scope="module")
def ended(shards, tmp_path_factory):
    """The configs of a pretraining and a fine-tuning that have ended, by kind."""
    place = tmp_path_factory.mktemp("changes")
    configs = {}
    for kind, configure in KINDS.items():
        config = configure(place / kind, shards[0])
        data = replace(config.data, crop_scale=(0.5, 1.0), **RGB, interpolation="bicubic")
        model = replace(config.model, embed_dim=16, depths=(1, 1))
        optim = replace(config.optim, epochs=3, warmup_epochs=0)
        config = replace(config, data=replace(data, num_lanes=6), model=model, optim=optim)
        training = replace(config.training, validate_every_epochs=3, panel_every_epochs=0)
        configs[kind] = replace(config, training=training)
        assert life.run(configs[kind]) == 0
    return configs


class Seen(Exception):
    """Ends a life where its Trainer would be made."""


@pytest.fixture
def seen(monkeypatch, tmp_path):
    """Start a life with another config from a checkpoint, and return all it has built."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(MASKS, "toy", lambda *given: random_mask(*given))
    monkeypatch.setitem(LOSSES, "twice", lambda one, other: 2 * (one - other).abs())
    found = SimpleNamespace(opened=[])
    plain = sizes.open_shards

    def opened(pattern, cache_dir, cache_gb, index_missing):
        found.opened.append((pattern, cache_dir, cache_gb))
        return plain(pattern, cache_dir, cache_gb, index_missing)

    def see(hardware, callbacks, *_):
        found.hardware = hardware
        found.calls = SimpleNamespace(**{type(one).__name__: one for one in callbacks})
        found.threads = torch.get_num_threads()
        raise Seen

    def start(config, checkpoint):
        threads = torch.get_num_threads()
        found.run = build(config, checkpoint, given={"encoder"})
        try:
            with pytest.raises(Seen):
                life.train(found.run)
        finally:
            torch.set_num_threads(threads)
        found.optimizer = found.run.module.configure_optimizers()
        return found

    monkeypatch.setattr(sizes, "open_shards", opened)
    monkeypatch.setattr(life, "make_trainer", see)
    return start


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_changed_setting_takes_effect_or_is_refused(kind, name, ended, shards, seen):
    effect, old = effects(*shards)[name], ended[kind]
    checkpoint = Path(old.run_dir, "checkpoints", "last.ckpt")
    assert flatten(old)[name] != effect.value, "the sweep must give another value"
    beside = {} if isinstance(effect, Refused) else dict(effect.beside)
    config = with_values(old, {"run_dir": "new", **beside, name: effect.value})
    if isinstance(effect, Refused):
        with pytest.raises(UserError, match=effect.said):
            seen(config, checkpoint)
        return
    found = seen(config, checkpoint)
    assert found.run.module.step == 3 * STEPS
    if (kind, name) in WITHOUT_EFFECT:
        assert not hasattr(found.calls, "Panels")
        return
    there = effect.value if effect.there is None else effect.there
    assert effect.look(found) == (pytest.approx(there) if isinstance(there, float) else there)


def test_moments_stay_where_options_change(ended, seen):
    old = ended["finetune"]
    changed = {"optim.layer_decay": 1.0, "optim.betas": (0.5, 0.5)}
    checkpoint = Path(old.run_dir, "checkpoints", "last.ckpt")
    found = seen(with_values(old, {"run_dir": "new", **changed}), checkpoint)
    stored = torch.load(checkpoint, weights_only=True)["optimizer"]["state"]
    now = found.optimizer.state_dict()["state"]
    assert now.keys() == stored.keys()
    for name, moments in stored.items():
        assert all(torch.equal(now[name][one], value) for one, value in moments.items())
