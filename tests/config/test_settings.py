import math
from dataclasses import asdict, dataclass, field, fields, replace

import pytest

from ssl_swin.config import earlier
from ssl_swin.config.data import DataConfig, LabelledDataConfig, SetConfig
from ssl_swin.config.model import HeadConfig, TargetConfig
from ssl_swin.config.run import FinetuneConfig, PretrainConfig
from ssl_swin.config.settings import (
    as_begun,
    differences,
    flatten,
    layout_setting,
    narrowed,
    newer_setting,
)
from ssl_swin.errors import UserError

PRETRAIN = PretrainConfig("runs/a", DataConfig("shards"))
FINETUNE = FinetuneConfig("runs/a", LabelledDataConfig("shards"), num_classes=10)

# What a run may go on with another value of. A name that is added or taken out here is a decision.
MAY_DIFFER = {
    "run_dir",
    *(f"data.{name}" for name in ("shards", "val_shards", "num_workers", "max_bad_share")),
    *(f"data.{name}" for name in ("cache_dir", "cache_gb", "labelled_shards", "labels", "stats")),
    "data.picture_channels",
    *(f"training.{name}" for name in ("micro_batch_size", "accelerator", "devices")),
    *(f"training.{name}" for name in ("num_nodes", "num_threads", "step_timeout_s")),
    *(f"training.{name}" for name in ("checkpoint_every_steps", "checkpoint_every_min")),
    *(f"training.{name}" for name in ("async_checkpoint", "keep_every_epochs", "ledger")),
    *(f"training.{name}" for name in ("validate_every_epochs", "log_every_steps")),
    *("training.panel_every_epochs", "training.max_bad_steps", "training.compile"),
    *("training.fused_attention", "training.activation_checkpointing", "training.strategy"),
    *(f"training.{name}" for name in ("loggers", "monitor_every_epochs", "best")),
}
OF_PRETRAINING = {"target.teacher"}  # the same one, elsewhere: its fingerprint is compared


LISTS = ("heads", "progressive")


@pytest.mark.parametrize("config", [PRETRAIN, FINETUNE])
def test_flat_names_are_those_of_the_fields(config):
    flat = flatten(config)
    assert flat["data.shards"] == "shards"
    assert flat["data.crop_scale"] == list(config.data.crop_scale)
    outer = [f.name for f in fields(config) if not hasattr(getattr(config, f.name), "__dict__")]
    assert all(flat[name] == getattr(config, name) for name in outer if name not in LISTS)
    assert all(flat.get(name, []) == [] for name in LISTS)
    assert len(flat) == len(outer) + sum(
        len(value) for value in asdict(config).values() if isinstance(value, dict)
    )


def changed(config, name):
    """What was stored of a config of which one value was another, whatever its type."""
    flat = flatten(config)
    now = flat[name]
    old = "other" if now is None or isinstance(now, str) else (not now if now is False else None)
    assert old != now
    return flat | {name: old}, (old, now)


@pytest.mark.parametrize("config", [PRETRAIN, FINETUNE])
def test_every_value_but_that_of_a_layout_setting_is_a_difference(config):
    may_differ = MAY_DIFFER | (OF_PRETRAINING if config is PRETRAIN else set())
    assert set(flatten(config)) > may_differ
    for name in flatten(config):
        stored, pair = changed(config, name)
        assert differences(stored, config) == ({} if name in may_differ else {name: pair})


def test_of_several_sets_the_weights_count_and_the_places_do_not():
    def mixed(*sets):
        return replace(PRETRAIN, data=DataConfig(sets=tuple(SetConfig(*one) for one in sets)))

    stored = flatten(mixed(("a", 1.0), ("b", 2.0)))
    assert stored["data.sets"][1] == {"shards": "b", "weight": 2.0}
    assert differences(stored, mixed(("x", 1.0), ("y", 2.0))) == {}
    assert list(differences(stored, mixed(("a", 1.0), ("b", 3.0)))) == ["data.sets"]
    assert list(differences(stored, mixed(("a", 1.0)))) == ["data.sets"]
    assert list(differences(stored, PRETRAIN)) == ["data.sets"]
    assert list(differences(flatten(PRETRAIN), mixed(("a", 1.0)))) == ["data.sets"]


def test_heads_are_numbers_and_a_run_without_them_had_none():
    several = replace(PRETRAIN, heads=(HeadConfig(1), HeadConfig(2, "hog", "l2")))
    (was, now) = differences(flatten(PRETRAIN), several)["heads"]
    assert was == []
    given = {"stage": 2, "target": "hog", "loss": "l2", "weight": 1.0, "at": "end"}
    assert now[1] == given | dict.fromkeys(("cell_size", "decoder_dim", "where"))
    assert differences(flatten(several), several) == {}
    heavier = replace(several, heads=(HeadConfig(1, weight=2.0), *several.heads[1:]))
    assert list(differences(flatten(several), heavier)) == ["heads"]
    stored = {name: value for name, value in flatten(PRETRAIN).items() if name != "heads"}
    assert differences(stored, PRETRAIN) == {}
    older = flatten(several)
    older["heads"] = [
        {n: v for n, v in one.items() if n not in ("at", "where")} for one in older["heads"]
    ]
    assert differences(older, several) == {}
    moved = replace(several, heads=(HeadConfig(1, at="start"), *several.heads[1:]))
    assert list(differences(older, moved)) == ["heads"]
    wider = replace(several, heads=(HeadConfig(1, where="everywhere"), *several.heads[1:]))
    assert list(differences(older, wider)) == ["heads"]
    older["heads"][0]["gone"] = 1
    assert list(differences(older, several)) == ["heads"]


def test_a_setting_that_the_run_began_without_had_its_default():
    stored = {n: v for n, v in flatten(PRETRAIN).items() if not n.startswith(("target", "loss"))}
    assert differences(stored, PRETRAIN) == {}
    other = replace(PRETRAIN, target=TargetConfig("normalised_pixels"))
    assert differences(stored, other) == {"target.kind": ("pixels", "normalised_pixels")}


def test_the_default_is_that_of_the_whole_config_where_that_gives_another():
    stored = {n: v for n, v in flatten(FINETUNE).items() if n != "model.drop_path_rate"}
    assert FINETUNE.model.drop_path_rate == 0.1
    assert differences(stored, FINETUNE) == {}


def test_a_setting_that_must_be_given_and_is_not_stored_is_a_difference():
    stored = {n: v for n, v in flatten(FINETUNE).items() if n != "num_classes"}
    assert differences(stored, FINETUNE) == {"num_classes": (None, 10)}


def test_a_stored_setting_that_is_no_more_is_a_difference_unless_it_is_known(monkeypatch):
    stored = flatten(PRETRAIN) | {"optim.gama": 0.1}
    assert differences(stored, PRETRAIN) == {"optim.gama": (0.1, None)}
    for now, changed in ((..., {}), (0.1, {}), (0.2, {"optim.gama": (0.1, None)})):
        monkeypatch.setattr(earlier, "REMOVED", {"optim.gama": now})
        assert differences(stored, PRETRAIN) == changed
    monkeypatch.setattr(earlier, "REMOVED", {})
    monkeypatch.setattr(earlier, "RENAMED", {"optim.gama": "optim.gamma"})
    del stored["optim.gamma"]
    assert differences(stored, PRETRAIN) == {}
    assert differences(stored | {"optim.gama": 0.2}, PRETRAIN) == {"optim.gamma": (0.2, 0.1)}


@dataclass(frozen=True)
class Toy:
    """A config of its own."""

    a: int
    b: tuple[int, ...] = (1, 2)
    c: int = layout_setting(3)
    d: list = field(default_factory=list)


def test_what_a_setting_is_stands_with_its_field():
    assert flatten(Toy(0)) == {"a": 0, "b": [1, 2], "c": 3, "d": []}
    assert differences({"a": 1, "b": [2], "c": 4}, Toy(0)) == {"a": (1, 0), "b": ([2], [1, 2])}


@dataclass(frozen=True)
class Inner:
    """A section with a setting that is new, or has another default than it had."""

    draws: tuple[int, ...] = newer_setting((2,), before=(1,))
    plain: int = 5


@dataclass(frozen=True)
class Outer:
    """A config whose runs may have begun without `inner.draws`."""

    inner: Inner = Inner()


OLD = Outer(Inner((1,)))


def test_a_run_older_than_a_setting_goes_on_as_it_began_unless_the_user_says_otherwise():
    for stored in ({"inner.plain": 5}, flatten(OLD)):  # without it; with the default of its day
        assert as_begun(stored, Outer()) == (OLD, {"inner.draws": (1,)})
        assert differences(stored, OLD) == {}
        assert as_begun(stored, OLD) == (OLD, {})  # said by hand
        for given in ("inner.draws", "inner"):
            config, put = as_begun(stored, Outer(), {"inner.plain", given})
            assert (config, put) == (Outer(), {})
            assert differences(stored, config) == {"inner.draws": ([1], [2])}
        other = Outer(Inner((3,)))
        assert as_begun(stored, other) == (other, {})
        assert differences(stored, other) == {"inner.draws": ([1], [3])}


@dataclass(frozen=True)
class Often:
    """A config with a layout setting that is new."""

    often: int = newer_setting(1, before=0, layout=True)


def test_a_new_layout_setting_is_off_in_an_older_run_and_may_be_switched_on():
    assert as_begun({}, Often()) == (Often(0), {"often": 0})
    assert as_begun({}, Often(), {"often"}) == (Often(1), {})
    assert differences({}, Often(1)) == {}


def test_a_run_that_began_with_a_new_default_keeps_it():
    assert as_begun(flatten(Outer()), Outer()) == (Outer(), {})
    assert differences(flatten(Outer()), OLD) == {"inner.draws": ([2], [1])}
    assert differences(flatten(Outer(Inner((3,)))), Outer()) == {"inner.draws": ([3], [2])}


def test_of_lists_the_first_item_and_key_are_named_that_differ():
    one, other = {"stage": 1, "loss": "l1"}, {"stage": 2, "loss": "l2"}
    assert narrowed("heads", [one, one], [one, one | {"loss": "l2"}]) == (
        *("heads[1].loss", "l1", "l2"),
    )
    assert narrowed("heads", [one], [other]) == ("heads[0].stage", 1, 2)
    assert narrowed("heads", [one], [one, other]) == ("heads", [one], [one, other])
    assert narrowed("optim.betas", [0.9, 0.95], [0.9, 0.99])[0] == "optim.betas"
    assert narrowed("seed", 1, 2) == ("seed", 1, 2)


def test_a_number_that_is_not_finite_is_named_by_its_place():
    heads = HeadConfig(2, weight=1.0), HeadConfig(1, weight=math.inf)
    with pytest.raises(UserError, match=r"^heads\[1\]\.weight=inf must be finite"):
        PretrainConfig("run", DataConfig("shards"), heads=heads)
