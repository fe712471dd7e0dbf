from dataclasses import replace

import pytest
import torch
from torch import nn

from ssl_swin.config.data import DataConfig
from ssl_swin.config.model import (
    DecoderConfig,
    HeadConfig,
    MaskConfig,
    ModelConfig,
    TargetConfig,
)
from ssl_swin.config.run import PretrainConfig
from ssl_swin.config.training import TrainingConfig
from ssl_swin.errors import UserError
from ssl_swin.models.decoders import DECODERS
from ssl_swin.models.losses import LOSSES
from ssl_swin.models.targets import TARGETS, Target
from ssl_swin.runs.gpu_use import step_flops
from ssl_swin.runs.network import build_network
from ssl_swin.runs.sizes import count_checkpoint_bytes

TINY = ModelConfig("swin_tiny_patch4_window7_224", 32, 4, 4, 16, (1, 1), (1, 2))
FUSED = TrainingConfig(fused_attention="on")
CONFIG = PretrainConfig("run", DataConfig("x"), model=TINY, mask=MaskConfig(mask_patch_size=8))


def test_what_a_config_names_is_what_is_trained():
    images = torch.rand(2, 3, 32, 32)
    plain = build_network(CONFIG)
    assert torch.equal(plain.target(images), images)
    around = replace(CONFIG, target=TargetConfig("normalised_pixels", norm_size=5))
    target = build_network(around).target(images)
    assert torch.equal(target, TARGETS["normalised_pixels"](norm_size=5)(images))
    assert not torch.equal(target, TARGETS["normalised_pixels"](norm_size=7)(images))


def test_a_new_kind_is_a_line_in_its_table(monkeypatch):
    monkeypatch.setitem(LOSSES, "cubed", lambda target, prediction: (target - prediction) ** 3)
    found = (
        build_network(replace(CONFIG, loss="cubed"))
        .heads[0]
        .loss(torch.tensor(3.0), torch.tensor(1.0))
    )
    assert found == 8
    made = []
    monkeypatch.setitem(DECODERS, "toy", lambda shape, **_: made.append(shape) or nn.Identity())
    build_network(replace(CONFIG, decoder=DecoderConfig("toy")))
    assert made == [(32, 8, 3, False, (4, 4), False)]


def test_heads_are_what_the_config_lists_each_with_its_own_cells():
    heads = (HeadConfig(1, "hog", "smooth_l1", 0.5, 4), HeadConfig(2, "hog"))
    target = TargetConfig(hog_bins=6, cell_size=8)
    found = build_network(replace(CONFIG, heads=heads, target=target, loss_beta=2.0))
    one, other = found.heads
    assert (one.stage, one.weight, one.name, one.target.cell_size) == (1, 0.5, "stage1_hog", 4)
    assert (other.stage, other.weight, other.target.cell_size) == (2, 1.0, 8)
    assert one.loss(torch.zeros(1), torch.ones(1)) == 0.25
    assert [decoder.conv.out_channels for decoder in found.decoders] == [18, 18]
    assert found.decoders[0].norm is not None
    assert found.decoders[1].norm is None


def test_heads_that_predict_the_same_compute_it_once(monkeypatch):
    heads = (HeadConfig(2, at="start"), HeadConfig(2), HeadConfig(1, cell_size=4))
    asked = []
    only = Target(lambda images: asked.append(1) or images)
    monkeypatch.setitem(TARGETS, "pixels", lambda cell_size, **_: replace(only, reach=cell_size))
    network = build_network(replace(CONFIG, heads=heads))
    one, same, other = (head.target for head in network.heads)
    assert one is same
    assert one is not other
    network(torch.rand(1, 3, 32, 32), torch.ones(1, 4, 4, dtype=torch.bool))
    assert len(asked) == 2


def test_decoders_are_what_the_config_says_each_of_its_own_width():
    decoder = DecoderConfig("transformer", dim=16, depth=2, num_heads=2, positions="sin-cos")
    alone = build_network(replace(CONFIG, decoder=decoder))
    assert alone.decoder.embed.out_features == 16
    assert (len(alone.decoder.blocks), alone.decoder.blocks[0].attn.num_heads) == (2, 2)
    assert alone.decoder.positions.shape == (16, 16)
    heads = (HeadConfig(2, at="start", decoder_dim=8), HeadConfig(2))
    both = build_network(replace(CONFIG, decoder=decoder, heads=heads, training=FUSED))
    assert [one.embed.out_features for one in both.decoders] == [8, 16]
    assert [one.name for one in both.heads] == ["stage2_start_pixels", "stage2_pixels"]
    assert all(block.attn.fused_attn for one in both.decoders for block in one.blocks)
    assert not any(block.attn.fused_attn for block in alone.decoder.blocks)


def test_a_token_on_pixels_leaves_the_encoders_own_as_it_is():
    config = replace(CONFIG, mask=MaskConfig(mask_patch_size=8, token="pixels"))
    network = build_network(config)
    assert network.pixel_token.tolist() == [0.0, 0.0, 0.0]
    state, untrained = network.state_dict(), network.encoder.mask_token.nbytes
    size = sum(one.nbytes for one in state.values())
    assert count_checkpoint_bytes(config) == 3 * size - 2 * untrained


def test_heads_are_counted_without_memory_for_weights():
    config = replace(CONFIG, heads=(HeadConfig(1, "hog", cell_size=4), HeadConfig(2)))
    state = build_network(config).state_dict()
    size = sum(one.nbytes for one in state.values())
    assert count_checkpoint_bytes(config) == 3 * size
    assert step_flops(config) > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"loss": "l3"}, "loss='l3' is not known; give one of l1, smooth_l1, l2, cosine"),
        (
            {"mask": MaskConfig("blocks", 8)},
            "mask.kind='blocks' is not known; give one of random, block",
        ),
        (
            {"target": TargetConfig("pixel")},
            "target.kind='pixel' is not known; give one of pixels, ",
        ),
        ({"target": TargetConfig("normalised_pixels", 4)}, "norm_size=4"),
        ({"mask": MaskConfig(mask_patch_size=8, mask_ratio=1.0)}, "leave at least one"),
        ({"mask": MaskConfig(mask_patch_size=6)}, "does not divide img_size=32"),
        ({"mask": MaskConfig(mask_patch_size=2)}, "does not divide mask_patch_size=2"),
        ({"target": TargetConfig("hog", cell_size=3)}, "target of cells of 3 pixels"),
        ({"target": TargetConfig("hog", hog_bins=1)}, "hog_bins=1"),
        (
            {"decoder": DecoderConfig("linar")},
            "decoder.kind='linar' is not known; give one of linear, tr",
        ),
        ({"decoder": DecoderConfig("transformer", 9)}, "decoder.num_heads=8 does not divide"),
        ({"heads": (HeadConfig(3),)}, r"heads\[0\].stage=3, and the encoder has 2"),
        ({"heads": (HeadConfig(1),)}, "no head is at the end of stage 2"),
        ({"heads": (HeadConfig(2, "hogs"),)}, r"heads\[0\].target='hogs' is not known"),
        ({"heads": (HeadConfig(2), HeadConfig(1, loss="x"))}, r"heads\[1\].loss='x'"),
        ({"heads": (HeadConfig(2), HeadConfig(2, weight=2.0))}, "two heads are stage2_pixels"),
    ],
)
def test_what_is_not_known_or_does_not_fit_is_refused(change, said):
    with pytest.raises(UserError, match=said):
        build_network(replace(CONFIG, **change))


def test_heads_that_differ_in_loss_cells_or_places_alone_are_told_apart():
    heads = HeadConfig(2, "hog", cell_size=4), HeadConfig(2), HeadConfig(2, "hog", cell_size=8)
    heads += HeadConfig(2, "hog", "l2", cell_size=8), HeadConfig(1, at="end")
    network = build_network(replace(CONFIG, heads=heads))
    assert [head.name for head in network.heads] == [
        *("stage2_hog_0", "stage2_pixels", "stage2_hog_2", "stage2_hog_3", "stage1_pixels")
    ]
