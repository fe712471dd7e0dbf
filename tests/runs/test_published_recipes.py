"""The shipped fine-tunings of published recipes get the whole model from their pretraining."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ssl_swin.command_line import read_config
from ssl_swin.config.model import ModelConfig
from ssl_swin.models.masking import count_hidden
from ssl_swin.runs.from_encoder import with_its_model
from ssl_swin.runs.gpu_use import step_flops
from ssl_swin.runs.network import build_classifier, build_simmim
from ssl_swin.runs.recipe import quirks_of

pytestmark = pytest.mark.usefixtures("in_the_checkout")

PUBLISHED = {
    "swin_base_simmim": ("swin_base_simmim_100ep", "swin_base_patch4_window7_224", 7, 0.1),
    "swin_base_simmim_800ep": ("swin_base_simmim_800ep", "swin_base_patch4_window7_224", 7, 0.1),
    "swin_large_simmim": ("swin_large_simmim_800ep", "swin_large_patch4_window7_224", 14, 0.2),
    "swinv2_base_simmim_800ep": ("swinv2_base_simmim_800ep", "swinv2_base_window12_192", 14, 0.1),
    "fastmim_swin_base": ("fastmim_swin_base_400ep", "swin_base_patch4_window7_224", 7, 0.1),
    "localmim_swin_base": ("localmim_swin_base_400ep", "swin_base_patch4_window7_224", 7, 0.1),
}


# SimMIM's own always, the others where there is time
EACH = [
    name if "simmim" in name else pytest.param(name, marks=pytest.mark.slow) for name in PUBLISHED
]


@pytest.mark.parametrize("name", EACH)
def test_the_published_recipes_get_the_whole_model_from_the_pretraining(name):
    before, model_name, window_size, drop_path_rate = PUBLISHED[name]
    pretrain, _ = read_config("pretrain", [f"configs/pretrain/{before}.yaml"])
    asked, life = read_config("finetune", [f"configs/finetune/{name}.yaml"])
    found, _ = with_its_model(asked, life["given"], pretrain.model)
    scale = (12, 12, 12, 6) if "v2" in name else None  # as the official fine-tuning has it
    sizes = {"window_size": window_size, "pretrained_window_sizes": scale}
    whole = ModelConfig(model_name, 224, drop_path_rate=drop_path_rate, **sizes)
    with torch.device("meta"):
        networks = [
            build_classifier(replace(asked, num_classes=1000, model=model))
            for model in (found.model, whole)
        ]
    assert networks[0].encoder.architecture() == networks[1].encoder.architecture()
    assert found.model.drop_path_rate == drop_path_rate


@pytest.mark.parametrize(
    ("name", "prefix"), [("swin_base_simmim", False), ("swinv2_base_simmim_800ep", True)]
)
def test_the_cosine_is_that_of_the_code_a_recipe_is_from(name, prefix):
    """SimMIM's runs under the warm-up, the Swin code's after it (WARMUP_PREFIX)."""
    config, _ = read_config("finetune", [f"configs/finetune/{name}.yaml"])
    assert quirks_of(config).cosine_under_warmup is not prefix


def pretraining(name):
    config, _ = read_config("pretrain", [f"configs/pretrain/{name}.yaml"])
    with torch.device("meta"):
        return config, build_simmim(config)


def rate(config):
    return config.optim.base_lr * config.training.global_batch_size / 512


def test_fastmim_is_of_the_published_sizes():
    config, model = pretraining("fastmim_swin_base_400ep")
    assert [(block.window_size, block.input_resolution) for block in model.encoder.blocks()][
        ::8
    ] == [
        ((4, 4), (32, 32)),
        ((4, 4), (8, 8)),
        ((4, 4), (8, 8)),
    ]
    assert model.decoder.predict.out_features == 4 * 4 * 27
    assert sum(one.numel() for one in model.decoder.parameters()) == 3_532_976
    assert count_hidden((4, 4), config.mask.mask_ratio) == 12
    assert rate(config) == pytest.approx(1.2e-3)
    assert config.optim.clip_grad is None


def test_localmim_is_of_the_published_sizes():
    config, model = pretraining("localmim_swin_base_400ep")
    assert [one.positions.shape[0] ** 0.5 for one in model.decoders] == [28, 14, 7, 7]
    assert [one.embed.out_features for one in model.decoders] == [64, 128, 128, 128]
    assert {one.predict.out_features for one in model.decoders} == {3 * 18}
    assert [one.at for one in model.heads] == ["start", "start", "start", "end"]
    assert model.positions(1, 1) == [16, 4, 1, 1]
    assert count_hidden((7, 7), config.mask.mask_ratio) == 37
    assert model.leaves_out
    assert rate(config) == pytest.approx(8e-4)


@pytest.mark.slow
def test_the_cheaper_recipes_cost_what_the_page_says():
    """Operations of all epochs against SimMIM's 800, which the YAMLs say, too."""
    found = {}
    for name in ("swin_base_simmim_800ep", "fastmim_swin_base_400ep", "localmim_swin_base_400ep"):
        config, _ = read_config("pretrain", [f"configs/pretrain/{name}.yaml"])
        found[name] = step_flops(config), config.optim.epochs
    one, epochs = found.pop("swin_base_simmim_800ep")
    page = Path("docs/targets.md").read_text("utf-8")
    assert f"{one / 1e9:.1f} G" in page
    for name, (flops, its_epochs) in found.items():
        share = f"{flops * its_epochs / one / epochs:.2f}"
        assert f"| {flops / 1e9:.1f} G | {share} |" in page
        header = Path(f"configs/pretrain/{name}.yaml").read_text("utf-8")
        assert f"{share} of the operations of SimMIM's 800 epochs" in header
