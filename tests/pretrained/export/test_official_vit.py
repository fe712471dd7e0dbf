import pytest
import timm
import torch
import yaml

from ssl_swin.models.classifier import Classifier
from ssl_swin.pretrained.classifier import ClassifierCard, write_classifier
from ssl_swin.pretrained.export.handoff import open_handoff
from ssl_swin.pretrained.export.official_vit import misfit
from ssl_swin.pretrained.open import open_encoder
from tests.pretrained.export.runs import exported
from tests.pretrained.runs import MEAN, STD
from tests.pretrained.vits import IMAGES, PRETRAINED, TUNED, moved, vit, written


@pytest.mark.parametrize("changes", [PRETRAINED, TUNED, {"qkv_bias": "qv"}])
def test_weights_go_out_under_the_official_names_and_come_back_bit_for_bit(tmp_path, changes):
    encoder = vit(**changes)
    source = written(encoder, tmp_path / "a.safetensors")
    folder = exported(source, "official", tmp_path / "out")
    opened = open_encoder(folder / "checkpoint.pth")
    own = opened.encoder.state_dict()
    assert opened.report.missing == ()  # the mask token goes along
    assert all(torch.equal(own[name], one) for name, one in encoder.state_dict().items())


def test_a_classifier_computes_what_timms_beit_does_which_has_the_official_names(tmp_path):
    classifier = moved(Classifier(vit(**TUNED), 3)).eval()
    sizes = classifier.encoder.architecture()
    card = ClassifierCard(sizes, ("cat", "dog", "owl"), MEAN, STD, 64)
    write_classifier(tmp_path / "classifier.safetensors", classifier.state_dict(), card)
    folder = exported(tmp_path / "classifier.safetensors", "official", tmp_path / "out")
    state = torch.load(folder / "checkpoint.pth", weights_only=True)["model"]
    small = {"img_size": 64, "embed_dim": 128, "depth": 2, "num_heads": 2, "num_classes": 3}
    theirs = timm.create_model("beit_base_patch16_224", **small).eval()
    del state["mask_token"]
    theirs.load_state_dict(state, strict=True)
    with torch.no_grad():
        torch.testing.assert_close(theirs(IMAGES), classifier(IMAGES), rtol=0, atol=1e-5)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["DATA"] == {"IMG_SIZE": 64, "INTERPOLATION": "bicubic"}
    assert config["MODEL"]["TYPE"] == "vit"
    assert config["MODEL"]["NUM_CLASSES"] == 3
    assert config["MODEL"]["VIT"] == {
        "PATCH_SIZE": 16,
        "IN_CHANS": 3,
        "EMBED_DIM": 128,
        "DEPTH": 2,
        "NUM_HEADS": 2,
        "MLP_RATIO": 4,
        "QKV_BIAS": True,
        "INIT_VALUES": 0.1,
        "USE_APE": False,
        "USE_RPB": True,
        "USE_SHARED_RPB": False,
        "USE_MEAN_POOLING": True,
    }


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "model.qkv_bias=qkv"),
        ({**PRETRAINED, "class_token": False}, "model.class_token=False"),
        ({**PRETRAINED, "norm_eps": 1e-12}, "model.norm_eps=1e-12"),
        ({**PRETRAINED, "img_size": (64, 32)}, "model.img_size=64 x 32, no square"),
        ({"qkv_bias": "none"}, ""),
    ],
)
def test_what_the_official_code_has_not_is_named(tmp_path, changes, told):
    source = written(vit(**changes), tmp_path / "a.safetensors")
    assert misfit(open_handoff(str(source))) == told
