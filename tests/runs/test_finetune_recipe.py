from dataclasses import replace

import pytest
import yaml

from ssl_swin.config.data import LabelledDataConfig
from ssl_swin.config.model import ModelConfig
from ssl_swin.config.run import FinetuneConfig
from ssl_swin.config.settings import flatten, unsaid, with_values
from ssl_swin.config.training import TrainingConfig
from ssl_swin.errors import UserError
from ssl_swin.runs.finetune_recipe import Recipe

SMALL = ModelConfig(img_size=32, embed_dim=48, depths=(2, 2), num_heads=(3, 6))
BASE = ModelConfig(img_size=224, embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32))


VIT = ModelConfig(
    "vit_base_patch16_224", 224, embed_dim=768, depths=(12,), num_heads=(12,), qkv_bias="qv"
)


def config(model=SMALL, encoder="encoder"):
    return FinetuneConfig("run", LabelledDataConfig("shards"), 10, encoder, model=model)


def chosen(asked, num_labels, on_gpu=False):
    recipe = Recipe(asked, unsaid(asked, ()), num_labels, on_gpu)
    values = {}
    for choice in (*recipe.by_task(), *recipe.by_machine()):
        assert choice.why
        assert not values.keys() & choice.values.keys()
        values |= choice.values
    assert values.keys() <= flatten(asked).keys()
    with_values(asked, values)  # they fit one another
    return values


@pytest.mark.parametrize("num_labels", [16, 50, 200, 1000, 3600, 20_000, 1_300_000])
@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize("model", [SMALL, BASE])
def test_any_number_of_labels_gives_steps(num_labels, on_gpu, model):
    found = chosen(config(model), num_labels, on_gpu)
    batch = found["training.global_batch_size"]
    assert batch <= num_labels
    assert num_labels // batch * found["optim.epochs"] >= 50
    assert found["training.validate_every_epochs"] <= found["optim.epochs"]


def test_every_process_has_an_image_of_a_batch():
    asked = replace(config(), training=TrainingConfig(devices=8, num_nodes=3))
    assert chosen(asked, 200)["training.global_batch_size"] == 32


def test_more_labels_mean_larger_batches_and_fewer_epochs():
    batches = [chosen(config(), n)["training.global_batch_size"] for n in (200, 2000, 20_000)]
    epochs = [chosen(config(), n)["optim.epochs"] for n in (200, 2000, 20_000)]
    assert batches == sorted(set(batches))
    assert epochs == sorted(set(epochs), reverse=True)
    assert chosen(config(), 200, on_gpu=True)["optim.epochs"] > epochs[0]


def test_larger_encoders_learn_more_slowly_with_drop_path():
    small, base = chosen(config(), 2000), chosen(config(BASE), 2000)
    assert small["optim.base_lr"] > base["optim.base_lr"]
    assert (small["model.drop_path_rate"], base["model.drop_path_rate"]) == (0.0, 0.1)


@pytest.mark.parametrize("model", [VIT, ModelConfig("vit_base_patch16_224", 224, qkv_bias="qv")])
def test_a_vit_has_the_rates_of_the_swin_that_the_official_code_trains_alike(model):
    found, base = chosen(config(model), 2000), chosen(config(BASE), 2000)
    assert found["optim.base_lr"] == base["optim.base_lr"]
    assert found["optim.layer_decay"] == 0.65
    assert found["model.drop_path_rate"] == 0.1


def test_images_are_mixed_where_each_is_seen_often():
    assert [chosen(config(), n)["optim.mixup"] for n in (200, 2000)] == [0.8, 0.0]
    assert [chosen(config(), n, on_gpu=True)["optim.cutmix"] for n in (2000, 50_000)] == [0.0, 1.0]


def test_rates_meet_those_that_were_measured():
    rates = {}
    for model, num_labels in ((SMALL, 200), (BASE, 1_300_000)):
        found = chosen(config(model), num_labels, on_gpu=True)
        rates[num_labels] = found["optim.base_lr"] * found["training.global_batch_size"] / 512
    assert rates[200] == pytest.approx(4e-3)  # the demo's
    assert rates[1_300_000] == pytest.approx(5e-3 * (1024 / 2048) ** 0.5, rel=0.1)  # SimMIM's


def test_from_scratch_layers_learn_alike():
    assert chosen(config(encoder=None), 200)["optim.layer_decay"] == 1.0


def test_the_sizes_of_a_name_are_timm_s():
    by_name = ModelConfig("swin_base_patch4_window7_224", img_size=224)
    assert chosen(config(by_name), 2000) == chosen(config(BASE), 2000)


def test_images_are_cropped_as_in_the_pretraining_of_the_run_folder(tmp_path):
    data = {"hflip": 0.0, "crop_pct": 1.0, "crop_scale": [0.8, 1.0], "white": 1023.0}
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump({"data": data, "seed": 0}, sort_keys=False)
    )
    found = chosen(config(encoder=str(tmp_path)), 200)
    assert (found["data.hflip"], found["data.crop_pct"]) == (0.0, 1.0)
    assert (found["data.crop_scale"], found["data.white"]) == ((0.8, 1.0), 1023.0)
    for text in ("", "{", "- 1", "data: 3", "data:\n  hflip: 0.0\n"):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(UserError, match=r"config.yaml is cut off or damaged"):
            chosen(config(encoder=str(tmp_path)), 200)


def test_the_user_s_accelerator_decides():
    asked = config()
    asked = replace(asked, training=replace(asked.training, accelerator="cpu"))
    assert Recipe(asked, unsaid(asked, ()), 200, on_gpu=True).gpu is False


def test_numbers_are_not_mixed_by_the_recipe():
    found = chosen(replace(config(), task="regression"), 20_000, on_gpu=True)
    assert [found[f"optim.{name}"] for name in ("mixup", "cutmix", "label_smoothing")] == [0.0] * 3
