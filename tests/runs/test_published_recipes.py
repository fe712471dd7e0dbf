"""The shipped fine-tunings of published recipes get the whole model from their pretraining."""

from dataclasses import replace

import pytest
import torch

from ssl_swin.command_line import read_config
from ssl_swin.config.model import ModelConfig
from ssl_swin.runs.from_encoder import with_its_model
from ssl_swin.runs.network import build_classifier

pytestmark = pytest.mark.usefixtures("in_the_checkout")

PUBLISHED = {
    "swin_base_simmim": ("swin_base_simmim_100ep", "swin_base_patch4_window7_224", 7, 0.1),
    "swin_base_simmim_800ep": ("swin_base_simmim_800ep", "swin_base_patch4_window7_224", 7, 0.1),
    "swin_large_simmim": ("swin_large_simmim_800ep", "swin_large_patch4_window7_224", 14, 0.2),
    "swinv2_base_simmim_800ep": ("swinv2_base_simmim_800ep", "swinv2_base_window12_192", 14, 0.1),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_recipes_get_the_whole_model_from_the_pretraining(name):
    before, model_name, window_size, drop_path_rate = PUBLISHED[name]
    pretrain, _ = read_config("pretrain", [f"configs/pretrain/{before}.yaml"])
    asked, life = read_config("finetune", [f"configs/finetune/{name}.yaml"])
    found, _ = with_its_model(asked, life["given"], pretrain.model)
    scale = (12, 12, 12, 6) if "v2" in name else None  # as the official fine-tuning has it
    whole = ModelConfig(model_name, 224, None, window_size, scale, drop_path_rate=drop_path_rate)
    with torch.device("meta"):
        networks = [
            build_classifier(replace(asked, num_classes=1000, model=model))
            for model in (found.model, whole)
        ]
    assert networks[0].encoder.architecture() == networks[1].encoder.architecture()
    assert found.model.drop_path_rate == drop_path_rate
