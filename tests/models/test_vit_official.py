"""What SimMIM's official code does with a ViT, but for what it computes, in numbers."""

import pytest
import torch

from ssl_swin.models.classifier import Classifier
from ssl_swin.models.encoder import pooled_stages
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.vit import ViTEncoder
from ssl_swin.training.optim import pretrain_groups
from tests.models.test_vit import OFFICIAL, TUNED, vit


def test_weights_start_as_in_simmims_code():
    encoder = vit(embed_dim=64, depths=(8,), **OFFICIAL)
    for name, one in encoder.named_parameters():
        if name.endswith("relative_position_bias_table") or one.ndim == 1:
            start = {"gamma": 0.1}.get(name.rpartition(".")[2], float("norm" in name))
            assert (one == (0 if name.endswith("bias") or "table" in name else start)).all(), name
            continue
        assert one.abs().max() <= 0.02, name  # cut off at one standard deviation
        divided = name.endswith(("attn.proj.weight", "mlp.fc2.weight"))
        scale = (2 * encoder.layer_of(name)) ** 0.5 if divided else 1.0
        # a normal distribution cut off there has 0.54 of its deviation
        assert one.std().item() == pytest.approx(0.02 * 0.54 / scale, rel=0.2), name


def test_pretraining_decays_what_the_official_code_does():
    with torch.device("meta"):
        model = SimMIM(ViTEncoder("vit_base_patch16_224", 224, **OFFICIAL))
        absolute = SimMIM(ViTEncoder("vit_base_patch16_224", 224))
    decayed, free = (set(group["param_names"]) for group in pretrain_groups(model, 0.05))
    shared = "encoder.backbone.rel_pos_bias.relative_position_bias_table"
    assert {"encoder.mask_token", shared, "decoder.conv.weight"} <= decayed
    assert "encoder.backbone.cls_token" in free
    assert model.encoder.layer_of(shared.removeprefix("encoder.")) == 13
    assert "encoder.backbone.pos_embed" in pretrain_groups(absolute, 0.05)[1]["param_names"]
    dim, hidden = 768, 3072
    block = 4 * dim**2 + 2 * dim * hidden + hidden + (2 + 2 + 4 + 2) * dim  # of 12
    ends = 2 * (dim**2 + dim) + 2 * dim + 2 * dim + (27**2 + 3) * 12  # patches, decoder, and so on
    assert sum(one.numel() for one in model.parameters()) == 12 * block + ends == 86_256_720


def test_the_head_starts_small_and_the_norm_of_the_mean_is_the_official_one():
    torch.manual_seed(0)
    classifier = Classifier(vit(**TUNED), 100)
    assert classifier.head.weight.std().item() == pytest.approx(2e-5, rel=0.1)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        last = classifier.encoder.stages(images)[-1]
        expected = classifier.encoder.backbone.fc_norm(last.mean((2, 3)))
        torch.testing.assert_close(classifier.features(images), expected)
        assert torch.equal(pooled_stages(classifier.encoder, images)["last"], expected)


def test_every_parameter_learns_pretraining_with_a_norm_of_the_mean_too():
    model = SimMIM(vit(**TUNED), 16)
    mask = torch.eye(2).bool().expand(2, 2, 2)
    model(torch.randn(2, 3, 32, 32), mask).backward()
    trained = {name for name, one in model.named_parameters() if one.grad is not None}
    frozen = {name for name, one in model.named_parameters() if not one.requires_grad}
    assert frozen == {"encoder.backbone.fc_norm.weight", "encoder.backbone.fc_norm.bias"}
    assert trained | frozen == {name for name, _ in model.named_parameters()}
