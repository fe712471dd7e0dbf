from dataclasses import asdict, fields, replace

import pytest

from ssl_swin.config.run import (
    LAYOUT,
    DataConfig,
    FinetuneConfig,
    FinetuneOptimConfig,
    LabelledDataConfig,
    ModelConfig,
    OptimConfig,
    PretrainConfig,
    SetConfig,
    TrainingConfig,
    differences,
    flatten,
)

PRETRAIN = PretrainConfig("runs/a", DataConfig("shards"))
FINETUNE = FinetuneConfig("runs/a", LabelledDataConfig("shards"), num_classes=10)

MIXED = {"shards": None, "sets": (SetConfig("x", 1.0),)}

REFUSED = [
    (DataConfig, {"mean": (0.5, 0.5)}, "data.mean has 2 and data.std 3 values"),
    (DataConfig, {"mean": (0.5, 0.5), "std": (1.0, 1.0)}, r"1 \(grey\) or 3 \(RGB\)"),
    (DataConfig, {"std": (0.2, 0.0, 0.2)}, "data.std=.* must be greater than 0"),
    (DataConfig, {"crop_pct": 0.0}, "data.crop_pct=0.0 must be greater than 0"),
    (DataConfig, {"crop_pct": 1.5}, r"data.crop_pct=1.5 must lie in \[0, 1\]"),
    (DataConfig, {"hflip": -0.1}, "data.hflip=-0.1"),
    (DataConfig, {"num_workers": -1}, "data.num_workers=-1"),
    (DataConfig, {"num_lanes": 0}, "data.num_lanes=0"),
    (DataConfig, MIXED | {"samples_per_epoch": 0}, "data.samples_per_epoch=0 must be greater"),
    (DataConfig, {"block_size": 0}, "data.block_size=0"),
    (DataConfig, {"crop_scale": (0.9, 0.1)}, "data.crop_scale"),
    (DataConfig, {"crop_scale": (0.5, 1.1)}, "must not exceed 1"),
    (DataConfig, {"crop_ratio": (0.0, 1.0)}, "data.crop_ratio"),
    (LabelledDataConfig, {"erasing": 2.0}, "data.erasing=2.0"),
    (LabelledDataConfig, {"num_labels": 0}, "data.num_labels=0"),
    (LabelledDataConfig, {"rand_augment": "rand-x9"}, "data.rand_augment='rand-x9' is no policy"),
    (LabelledDataConfig, {"rand_augment": "rand-m9.5"}, "data.rand_augment='rand-m9.5' is no"),
    (LabelledDataConfig, {"rand_augment": "rand-m9-inc0.5"}, "is no policy of timm's"),
    (LabelledDataConfig, {"mean": (0.5,), "std": (0.5,)}, "needs RGB images"),
    (ModelConfig, {"drop_path_rate": 1.0}, "model.drop_path_rate=1.0"),
    (OptimConfig, {"epochs": 0}, "optim.epochs=0"),
    (OptimConfig, {"base_lr": 0.0}, "optim.base_lr=0.0"),
    (OptimConfig, {"epochs": 5}, "optim.warmup_epochs=10 .* less than optim.epochs=5"),
    (OptimConfig, {"clip_grad": 0.0}, "optim.clip_grad=0.0"),
    (OptimConfig, {"warmup_lr": -1.0}, "optim.warmup_lr=-1.0"),
    (OptimConfig, {"betas": (0.9, 1.0)}, "optim.betas"),
    (FinetuneOptimConfig, {"layer_decay": 0.0}, "optim.layer_decay=0.0"),
    (FinetuneOptimConfig, {"layer_decay": 1.1}, "optim.layer_decay=1.1"),
    (FinetuneOptimConfig, {"label_smoothing": 2.0}, "optim.label_smoothing=2.0"),
    (FinetuneOptimConfig, {"mixup": -1.0}, "optim.mixup=-1.0"),
    (TrainingConfig, {"global_batch_size": 0}, "training.global_batch_size=0"),
    (TrainingConfig, {"micro_batch_size": 0}, "training.micro_batch_size=0"),
    (TrainingConfig, {"devices": 0}, "training.devices=0"),
    (TrainingConfig, {"num_threads": 0}, "training.num_threads=0"),
    (TrainingConfig, {"checkpoint_every_steps": -1}, "training.checkpoint_every_steps"),
]


@pytest.mark.parametrize(("kind", "values", "message"), REFUSED)
def test_values_that_cannot_be_are_refused_by_their_name(kind, values, message):
    first = {"shards": "x"} if issubclass(kind, DataConfig) else {}
    with pytest.raises(ValueError, match=message) as info:
        kind(**(first | values))
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("seed", [-1, 2**63])
@pytest.mark.parametrize("config", [PRETRAIN, FINETUNE])
def test_seeds_that_cannot_be_are_refused(config, seed):
    with pytest.raises(ValueError, match=f"seed={seed} must be 0 or more"):
        replace(config, seed=seed)


@pytest.mark.parametrize(
    "policy", ["", "rand", "rand-m9", "rand-m9-mstd0.5-inc1", "rand-m20-mmax30-n3-p0.5"]
)
def test_timms_policies_are_taken(policy):
    assert LabelledDataConfig("shards", rand_augment=policy).rand_augment == policy


@pytest.mark.parametrize("config", [PRETRAIN, FINETUNE])
def test_flat_names_are_those_of_the_fields(config):
    flat = flatten(config)
    assert flat["data.shards"] == "shards"
    assert flat["data.crop_scale"] == list(config.data.crop_scale)
    nested = [f.name for f in fields(config) if not hasattr(getattr(config, f.name), "__dict__")]
    assert all(flat[name] == getattr(config, name) for name in nested)
    assert len(flat) == len(nested) + sum(
        len(value) for value in asdict(config).values() if isinstance(value, dict)
    )


def test_what_may_differ_are_fields():
    assert set(flatten(PRETRAIN)) | set(flatten(FINETUNE)) >= LAYOUT


def changed(config, name):
    """The config with one value that is another, whatever its type."""
    part, _, last = name.rpartition(".")
    old = getattr(getattr(config, part) if part else config, last)
    new = "other" if old is None or isinstance(old, str) else (not old if old is False else None)
    flat = flatten(config)
    assert flat[name] != new
    return flat | {name: new}, (flat[name], new)


@pytest.mark.parametrize("name", sorted(flatten(PRETRAIN)))
def test_every_value_but_the_layout_counts_as_a_difference(name):
    after, pair = changed(PRETRAIN, name)
    expected = {} if name in LAYOUT else {name: pair}
    assert differences(flatten(PRETRAIN), after) == expected


def test_a_value_that_only_one_version_knows_is_a_difference():
    flat = flatten(PRETRAIN)
    without = {name: value for name, value in flat.items() if name != "optim.gamma"}
    assert differences(flat, without) == {"optim.gamma": (0.1, None)}
    assert differences(without, flat) == {"optim.gamma": (None, 0.1)}
