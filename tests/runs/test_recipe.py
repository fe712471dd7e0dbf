from dataclasses import replace

import pytest

from ssl_swin.config.model import ModelConfig
from ssl_swin.config.optim import OptimConfig
from ssl_swin.runs.build import build
from ssl_swin.runs.recipe import quirks_of, recipe_told
from ssl_swin.training.optim import of_places
from ssl_swin.training.quirks import RECIPES, Quirks
from tests.training.conftest import write_shards
from tests.training.launch import finetune_config, pretrain_config

SIZES = {"img_size": 32, "patch_size": 4, "embed_dim": 16}
SWIN = ModelConfig(**SIZES, window_size=4, depths=(1, 2), num_heads=(1, 2))
V2 = replace(SWIN, name="swinv2_tiny_window8_256")
VIT = ModelConfig(
    "vit_base_patch16_224", **SIZES, depths=(2,), num_heads=(2,), position="relative-shared"
)
WARM = OptimConfig(epochs=2, warmup_epochs=1)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("shards"), [60, 40])


def decaying(run):
    groups = run.module.parameter_groups()
    return {name for group in groups if group["weight_decay"] for name in group["param_names"]}


@pytest.mark.parametrize(
    ("model", "places"),
    [
        (SWIN, {"relative_position_bias_table"}),
        (V2, {"logit_scale", "cpb_mlp.0.weight", "cpb_mlp.2.weight"}),
        (VIT, {"relative_position_bias_table", "mask_token"}),
    ],
    ids=["swin", "swinv2", "vit"],
)
def test_corrected_decays_nothing_of_places(model, places, tmp_path, shards):
    found = {}
    for recipe in RECIPES:
        config = pretrain_config(tmp_path / recipe, shards)
        run = build(replace(config, model=model, optim=WARM, recipe=recipe))
        found[recipe] = decaying(run)
    less = found["official"] - found["corrected"]
    assert not found["corrected"] - found["official"]
    assert {name for name in less if not name.endswith(tuple(places))} == set()
    for place in places:
        assert any(name.endswith(place) for name in less)
    assert less <= {f"encoder.{name}" for name in of_places(run.encoder)}


def test_corrected_has_each_steps_own_rate_and_a_cosine_after_the_warm_up(tmp_path, shards):
    config = replace(finetune_config(tmp_path, shards), recipe="corrected")
    optim = replace(config.optim, epochs=2, warmup_epochs=1, layer_decay=0.5)
    run = build(replace(config, optim=optim))
    curve = run.module.schedule.curve
    warm, last = curve.warmup_steps, curve.total_steps
    assert curve.at(0) == curve.warmup_lr
    assert curve.at(1) > curve.warmup_lr
    assert curve.at(warm) == curve.base_lr
    assert curve.at(last) == pytest.approx(curve.min_lr)
    for step in (0, 1, warm, last - 1):
        assert curve.at(step, 0.25) == pytest.approx(0.25 * curve.at(step))


def test_a_setting_decides_before_the_recipe(tmp_path, shards):
    config = pretrain_config(tmp_path, shards)
    for recipe, prefix, under in (
        ("official", None, True),
        ("official", True, False),
        ("corrected", None, False),
        ("corrected", False, True),
    ):
        optim = replace(config.optim, warmup_prefix=prefix)
        quirks = quirks_of(replace(config, recipe=recipe, optim=optim))
        assert quirks == RECIPES[recipe]._replace(cosine_under_warmup=under)


def test_a_run_says_what_its_recipe_changes_of_it_and_no_more(tmp_path, shards, capsys):
    config = replace(pretrain_config(tmp_path / "a", shards), model=SWIN, optim=WARM)
    told = (
        "recipe: official; as in the official code tables and tokens of places and scores (3) "
        "decay, the cosine runs under the warm-up, a step has the rate of the one before"
    )
    assert told in capsys_lines(capsys, config)
    right = (
        "recipe: corrected; put right: tables and tokens of places and scores (3) do not decay, "
        "the cosine starts after the warm-up, each step has its own rate"
    )
    assert right in capsys_lines(capsys, replace(config, recipe="corrected"))
    plain = replace(SWIN, position="none")
    constant = OptimConfig(epochs=2, warmup_epochs=0)
    found = capsys_lines(capsys, replace(config, model=plain, optim=constant))
    assert (
        "recipe: official; as in the official code a step has the rate of the one before" in found
    )
    tuned = finetune_config(tmp_path / "b", shards)
    optim = replace(tuned.optim, epochs=2, warmup_epochs=1, warmup_prefix=True, layer_decay=0.5)
    found = capsys_lines(capsys, replace(tuned, optim=optim))
    assert any(
        one.endswith(
            "all layers start and end at one rate; put right: the cosine starts after the warm-up"
        )
        for one in found
    )


def capsys_lines(capsys, config):
    run = build(config)
    assert recipe_told(config, run.module).startswith(f"recipe: {config.recipe}")
    return capsys.readouterr().out.splitlines()


def test_each_quirk_is_put_right():
    assert Quirks() == RECIPES["official"]
    assert not any(RECIPES["corrected"])
