"""The shipped recipes that learn from a frozen teacher: they build, and fit their teacher."""

from dataclasses import replace

import pytest
import timm
import torch
from torch import nn

from ssl_swin.command_line import read_config
from ssl_swin.models.encoder import build_encoder
from ssl_swin.models.targets.teacher import Teacher
from ssl_swin.runs.from_encoder import with_its_model
from ssl_swin.runs.network import build_classifier, build_simmim

pytestmark = pytest.mark.usefixtures("in_the_checkout")

# recipe -> channels of what its teacher gives, and the rate of a whole step
TAUGHT = {
    "fd_vit_base_300ep": (768, 1.2e-3),
    "fd_swinv2_base_300ep": (1024, 8e-4),
    "gfm_swin_base_100ep": (1024, 4e-4),
}


def built(name):
    """The network of a recipe, on no device; a teacher without weights stands in for its own."""
    config, _ = read_config("pretrain", [f"configs/pretrain/{name}.yaml"])
    with torch.device("meta"):
        network = nn.Conv2d(3, TAUGHT[name][0], 32, 32)
        teacher = Teacher(network, network, TAUGHT[name][0], (224, 224), (1.0,) * 3, (0.0,) * 3)
        return config, build_simmim(config, teacher).to("meta")  # tables of numpy, too


@pytest.mark.parametrize("name", TAUGHT)
def test_they_are_built_and_take_their_rate(name):
    config, simmim = built(name)
    rate = config.optim.base_lr * config.training.global_batch_size / 512
    assert rate == pytest.approx(TAUGHT[name][1])
    images = torch.empty(2, 3, *simmim.encoder.img_size, device="meta")
    side = images.shape[-1] // 32
    mask = torch.zeros(2, side, side, dtype=torch.bool, device="meta")
    assert simmim(images, mask).shape == ()


def test_those_of_feature_distillation_hide_nothing():
    for name, grid in (("fd_vit_base_300ep", 14), ("fd_swinv2_base_300ep", 7)):
        _, simmim = built(name)
        assert simmim.token == "unused"
        assert simmim.positions(0, 49) == [grid**2]
        assert not simmim.encoder.mask_token.requires_grad
    _, vit = built("fd_vit_base_300ep")
    num = sum(one.numel() for one in vit.parameters())
    assert num == sum(one.numel() for one in vit.encoder.parameters()) + 768 * 769


def test_that_of_gfm_adds_one_linear_layer_to_simmims():
    _, simmim = built("gfm_swin_base_100ep")
    num = sum(one.numel() for one in simmim.parameters())
    assert num == 89_874_104 + 1024 * 1025  # the first is the published number, of SimMIM
    assert simmim.positions(22, 36) == [22 * 32 * 32, 1]


def test_their_teachers_are_models_of_timm_of_these_channels():
    for name, width in (("fd_vit_base_300ep", 768), ("gfm_swin_base_100ep", 1024)):
        config, _ = read_config("pretrain", [f"configs/pretrain/{name}.yaml"])
        model = config.target.teacher.removeprefix("timm:")
        assert timm.get_pretrained_cfg(model).has_weights
        assert timm.get_pretrained_cfg(model).input_size == (3, 224, 224)
        with torch.device("meta"):
            body = timm.create_model(model, num_classes=0)
        assert body.num_features == width
        if config.target.teacher_stage is not None:
            assert (
                body.layers[config.target.teacher_stage - 1].downsample.reduction.out_features
                == width
            )


@pytest.mark.parametrize(
    ("name", "before", "rate"),
    [
        ("fd_vit_base", "fd_vit_base_300ep", 5e-3),
        ("fd_swinv2_base", "fd_swinv2_base_300ep", 2.5e-3),
    ],
)
def test_their_fine_tunings_get_the_whole_model(name, before, rate):
    pretrain, _ = read_config("pretrain", [f"configs/pretrain/{before}.yaml"])
    asked, life = read_config("finetune", [f"configs/finetune/{name}.yaml"])
    assert asked.encoder == pretrain.run_dir
    found, _ = with_its_model(asked, life["given"], pretrain.model)
    with torch.device("meta"):
        encoder = build_classifier(replace(found, num_classes=1000)).encoder
        learned = build_encoder(pretrain.model.name, 224, 3, window_size=pretrain.model.window_size)
    assert encoder.num_features == learned.num_features
    assert asked.optim.base_lr * asked.training.global_batch_size / 512 == pytest.approx(rate)
