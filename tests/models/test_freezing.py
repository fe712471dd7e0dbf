import pytest
import torch
from timm.layers import DropPath

from ssl_swin.errors import UserError
from ssl_swin.models.classifier import Classifier
from ssl_swin.models.freezing import freeze
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.training.optim import adamw, finetune_groups
from tests.toys.toy_encoder import ToyEncoder
from tests.training.tiny import SIZES


@pytest.fixture(params=["ssl_swin", "timm"])
def classifier(request):
    torch.manual_seed(0)
    name, sizes = "swin_tiny_patch4_window7_224", SIZES | {"depths": (2, 1)}
    encoder = SwinEncoder(name, drop_path_rate=0.5, implementation=request.param, **sizes)
    return Classifier(encoder, 3)


def trained(classifier):
    return {name for name, one in classifier.named_parameters() if one.requires_grad}


def test_the_stem_and_the_first_stage_are_frozen(classifier):
    before = trained(classifier)
    freeze(classifier.encoder, 1)
    frozen = before - trained(classifier)
    of_stage = [name for name in before if ".layers.0." in name]
    assert frozen == {*of_stage, *(name for name in before if ".patch_embed." in name)}
    assert any(".layers.1.downsample." in name for name in trained(classifier))


@pytest.mark.parametrize("part", [2, "encoder"])
def test_all_stages_are_the_encoder(classifier, part):
    freeze(classifier.encoder, part)
    assert trained(classifier) == {"head.weight", "head.bias"}


def test_more_stages_than_there_are_are_refused(classifier):
    message = "finetune.freeze=3, but this encoder has 2 stages; allowed are 0 to 2 and encoder"
    with pytest.raises(UserError, match=message):
        freeze(classifier.encoder, 3)


def test_an_encoder_without_stages_can_be_frozen_as_a_whole():
    encoder = ToyEncoder(img_size=16, in_chans=3, drop_path_rate=0.0, name="toy")
    with pytest.raises(UserError, match="this encoder has 0 stages"):
        freeze(encoder, 1)
    freeze(encoder, "encoder")
    assert not any(one.requires_grad for one in encoder.parameters())


def skipping(classifier):
    """Whether each drop path that there is skips."""
    found = [one for one in classifier.encoder.modules() if isinstance(one, DropPath)]
    return [one.training for one in found if one.drop_prob]


def test_drop_path_skips_nothing_in_frozen_stages(classifier):
    assert skipping(classifier.train()) == [True] * 4
    freeze(classifier.encoder, 1)
    assert skipping(classifier.train()) == [False, False, True, True]
    assert classifier.training
    assert skipping(classifier.eval()) == [False] * 4
    freeze(classifier.encoder, "encoder")
    assert skipping(classifier.train()) == [False] * 4


@pytest.mark.parametrize("checkpointed", [False, True])
def test_what_is_frozen_has_no_gradient_no_moments_and_no_decay(classifier, checkpointed):
    freeze(classifier.encoder, 1)
    classifier.train().encoder.set_grad_checkpointing(checkpointed)
    before = {name: one.detach().clone() for name, one in classifier.named_parameters()}
    optimizer = adamw(finetune_groups(classifier, 0.5, 0.5), 0.1)
    assert {group["lr_scale"] for group in optimizer.param_groups} == {1.0, 0.5, 0.25}
    classifier(torch.randn(4, 3, 16, 16)).square().sum().backward()
    optimizer.step()
    moved = {n for n, one in classifier.named_parameters() if not torch.equal(before[n], one)}
    assert moved == trained(classifier)
    assert len(optimizer.state) == len(moved)
