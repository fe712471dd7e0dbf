import pytest
import torch

from ssl_swin.models.classifier import Classifier
from ssl_swin.models.freezing import freeze
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.pretrained.timm import timm_model


@pytest.fixture
def encoder():
    return SwinEncoder(
        "swin_tiny_patch4_window7_224",
        img_size=64,
        window_size=4,
        embed_dim=16,
        depths=(2, 2),
        num_heads=(2, 4),
    )


def test_logits_are_the_head_on_the_mean_of_the_features(encoder):
    model = Classifier(encoder, num_classes=7).eval()
    images = torch.randn(3, 3, 64, 64)
    features = encoder(images).flatten(2).mean(2)
    torch.testing.assert_close(model.features(images), features)
    torch.testing.assert_close(model(images), features @ model.head.weight.T)
    assert model(images).shape == (3, 7)


def test_the_classifier_is_timms(encoder):
    model = Classifier(encoder, num_classes=7).eval()
    theirs = timm_model(encoder).eval()
    theirs.reset_classifier(7)
    theirs.head.fc.load_state_dict(model.head.state_dict())
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(model(images), theirs(images))


def test_every_trained_parameter_gets_a_gradient(encoder):
    model = Classifier(encoder, num_classes=7)
    model(torch.randn(2, 3, 64, 64)).logsumexp(1).sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert without == ["encoder.mask_token"]
    assert not model.encoder.mask_token.requires_grad


def test_the_head_starts_small_and_without_bias(encoder):
    torch.manual_seed(0)
    head = Classifier(encoder, num_classes=1000).head
    assert head.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert (head.bias == 0).all()


def test_a_classifier_without_classes_is_refused(encoder):
    with pytest.raises(ValueError, match="num_classes=0"):
        Classifier(encoder, num_classes=0)


def test_while_the_head_learns_alone_the_encoder_is_as_in_evaluation(encoder):
    model = Classifier(encoder, num_classes=7).train()
    freeze(model.encoder, 1)
    model.train_head_alone(True)
    assert model.head.training
    assert not any(one.training for one in model.encoder.modules())
    model.eval()
    model.train()  # as before and after a measurement
    assert not any(one.training for one in model.encoder.modules())
    images = torch.randn(2, 3, 64, 64)
    model(images).square().sum().backward()
    assert {name for name, one in model.named_parameters() if one.grad is not None} == {
        *("head.weight", "head.bias")
    }
    model.train_head_alone(False)
    first, second = model.encoder.backbone.layers
    assert not any(one.training for one in first.blocks.modules() if one is not first.blocks)
    assert all(one.training for one in second.modules())
    model(images).square().sum().backward()
    trained = {name for name, one in model.named_parameters() if one.requires_grad}
    assert {name for name, one in model.named_parameters() if one.grad is not None} == trained
