import pytest
import torch

from ssl_swin.pretrained.official import from_official, read_official
from ssl_swin.pretrained.timm import read_timm


def test_downsampling_moves_to_the_stage_it_enters():
    official = ["patch_embed.proj.weight", "layers.0.downsample.norm.weight", "mask_token"]
    assert list(from_official(dict.fromkeys(official, torch.zeros(1)))) == [
        "backbone.patch_embed.proj.weight",
        "backbone.layers.1.downsample.norm.weight",
        "mask_token",
    ]


@pytest.fixture
def official(tiny):
    """A small Swin's weights under the official names."""
    state = tiny(img_size=32).backbone.state_dict()
    return {
        key.replace("layers.1.downsample", "layers.0.downsample"): v for key, v in state.items()
    }


@pytest.mark.parametrize("prefix", ["", "encoder."])
def test_an_official_file_is_known_by_its_names(tmp_path, official, prefix):
    path = tmp_path / "c.pth"
    torch.save({"model": {prefix + key: value for key, value in official.items()}}, path)
    weights = read_official(path)
    assert weights.architecture["embed_dim"] == 16
    assert weights.card is None


def test_weights_of_another_model_are_not_official(tmp_path, tiny):
    torch.save(tiny(img_size=32).backbone.state_dict(), tmp_path / "timm.pth")
    assert read_official(tmp_path / "timm.pth") is None
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    assert read_official(tmp_path / "other.pth") is None
    assert read_timm(tmp_path / "other.pth") is None
