"""Every shipped config builds its network, of as many parameters as published or as timm counts."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from ssl_swin.command_line import read_config
from ssl_swin.config.model import TargetConfig
from ssl_swin.runs.from_encoder import with_its_model
from ssl_swin.runs.network import build_network
from tests.training.groups import model_before

pytestmark = pytest.mark.usefixtures("in_the_checkout")

# Parameters while pretraining, and of the encoder. Published: 89.87 M of SimMIM's Swin-B, and
# 86,256,720 of its ViT-B; the others are counted here. With a teacher the decoder fits what it
# says, and only the encoder is counted.
PRETRAIN = {
    "demo": (308_338, 302_130),
    "photographs_cpu": (2_248_686, 2_100_462),
    "swin_tiny_1gpu": (29_875_194, 27_512_826),
    "swin_small_1gpu": (51_186_186, 48_823_818),
    "swin_base_1gpu": (89_874_104, 86_725_304),
    "swin_base_simmim_100ep": (89_874_104, 86_725_304),
    "swin_base_simmim_800ep": (89_874_104, 86_725_304),
    "swin_large_simmim_800ep": (199_881_204, 195_159_540),
    "swinv2_tiny_1gpu": (29_940_618, 27_578_250),
    "swinv2_base_simmim_800ep": (90_042_744, 86_893_944),
    "vit_base_simmim_800ep": (86_256_720, 85_666_128),
    "fastmim_swin_base_400ep": (90_231_211, 86_698_232),
    "localmim_swin_base_400ep": (87_762_000, 86_743_352),
    "gfm_swin_base_100ep": (None, 86_725_304),
    "fd_swinv2_base_300ep": (None, 86_893_944),
    "fd_vit_base_300ep": (None, 85_666_128),
}
OF_ITS_INIT = {"continue_1gpu"}  # the network is that of the weights that it begins with
FINETUNE = {
    "swin_base_simmim": 87_768_352,
    "swin_base_simmim_800ep": 87_768_352,
    "swin_large_simmim": 196_794_748,
    "swinv2_base_simmim_800ep": 87_918_944,
    "vit_base_simmim": 86_531_752,
}
# Of timm's own sizes, where ours differ from timm's in the mask token alone, one of each channel
# of the first stage.
AS_TIMM = {
    "swin_tiny_1gpu": 96,
    "swin_small_1gpu": 96,
    "swin_base_simmim_100ep": 128,
    "swin_large_simmim_800ep": 192,
    "swinv2_tiny_1gpu": 96,
    "swinv2_base_simmim_800ep": 128,
}


def counted(network):
    return sum(one.numel() for one in network.parameters())


def built(config):
    with torch.device("meta"):
        return build_network(config)


def test_every_shipped_pretraining_is_counted():
    shipped = {Path(one).stem for one in Path("configs/pretrain").glob("*.yaml")}
    assert shipped == PRETRAIN.keys() | OF_ITS_INIT


@pytest.mark.parametrize("name", PRETRAIN)
def test_a_pretraining_has_as_many_parameters_as_published_and_as_timm_counts(name):
    config, _ = read_config("pretrain", [f"configs/pretrain/{name}.yaml"])
    whole, of_encoder = PRETRAIN[name]
    if whole is None:  # the teacher is not shipped
        config = replace(config, target=TargetConfig(), heads=(), loss="l1")
    network = built(config)
    assert counted(network.encoder) == of_encoder
    if whole is not None:
        assert counted(network) == whole
    if name in AS_TIMM:
        sizes = {"img_size": config.model.img_size, "window_size": config.model.window_size}
        with torch.device("meta"):
            its = timm.create_model(config.model.name, num_classes=0, **sizes)
        assert of_encoder == counted(its) + AS_TIMM[name]


def test_of_simmims_swin_b_are_the_published_89_87_million():
    """A decoder of 1024 channels to 32 x 32 pixels of 3 colours, each with a bias, is the rest."""
    whole, of_encoder = PRETRAIN["swin_base_simmim_100ep"]
    assert whole - of_encoder == (1024 + 1) * 32 * 32 * 3
    assert round(whole / 1e6, 2) == 89.87


@pytest.mark.parametrize("name", FINETUNE)
def test_a_fine_tuning_has_its_encoder_and_a_head_for_a_thousand_classes(name):
    asked, life = read_config("finetune", [f"configs/finetune/{name}.yaml"])
    config, _ = with_its_model(asked, life["given"], model_before(name))
    network = built(replace(config, num_classes=1000))
    assert counted(network) == FINETUNE[name]
    assert counted(network.head) == 1000 * (network.encoder.num_features + 1)
