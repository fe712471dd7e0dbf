import os
import subprocess
import sys

import pytest
import timm
import torch

from ssl_swin.errors import UserError
from ssl_swin.pretrained.load import load_encoder, save_encoder
from tests.pretrained.runs import MEAN, PIXELS, STD


def test_the_card_says_how_images_are_read_and_changes_may_say_otherwise(run):
    folder, _ = run
    preprocess = load_encoder(str(folder)).preprocess
    assert (preprocess.mean, preprocess.std, preprocess.crop_pct) == (MEAN, STD, 0.9)
    assert (preprocess.reading.decoder, preprocess.reading.white) == ("pil", 255.0)
    changed = load_encoder(folder / "encoder.safetensors", crop_pct=1.0, white=1.0)
    assert (changed.preprocess.crop_pct, changed.preprocess.reading.white) == (1.0, 1.0)
    assert (changed.card.crop_pct, changed.card.white) == (1.0, 1.0)


def test_image_and_window_size_change_and_what_is_saved_then_is_loaded_as_it_is(run, tmp_path):
    loaded = load_encoder(run[0], img_size=128, window_size=8)
    assert loaded.img_size == (128, 128)
    features = loaded(loaded.preprocess(PIXELS))
    assert features.shape == (2, loaded.num_features)
    loaded.save(tmp_path / "larger.safetensors")
    again = load_encoder(tmp_path / "larger.safetensors")
    assert (again.img_size, again.card) == ((128, 128), loaded.card)
    assert torch.equal(again(again.preprocess(PIXELS)), features)
    with pytest.raises(UserError, match=r"img_size=\(60, 60\) is not a multiple of 8"):
        load_encoder(run[0], img_size=60)


def test_an_encoder_of_ones_own_is_saved_in_one_line(tiny, tmp_path):
    encoder = tiny(seed=2).eval()
    save_encoder(encoder, tmp_path / "mine.safetensors", MEAN, STD)
    loaded = load_encoder(tmp_path / "mine.safetensors")
    images = loaded.preprocess(PIXELS)
    assert torch.equal(loaded.maps(images), encoder(images))
    with pytest.raises(UserError, match=r"must end in \.safetensors"):
        save_encoder(encoder, tmp_path / "mine.pt")


def test_it_becomes_timms_model_and_comes_back_from_timms_weights(run, tmp_path):
    loaded = load_encoder(run[0])
    model = loaded.to_timm()
    images = loaded.preprocess(PIXELS)
    with torch.no_grad():
        torch.testing.assert_close(model(images), loaded(images))
        next(model.parameters()).zero_()  # its own copy
        assert not torch.equal(model(images), loaded(images))
    assert not model.training
    fresh = timm.create_model("swin_tiny_patch4_window7_224", img_size=64, num_classes=5)
    torch.save(fresh.state_dict(), tmp_path / "timm.pth")
    mean = load_encoder(tmp_path / "timm.pth", img_size=64, window_size=4).preprocess.mean
    assert mean == timm.data.IMAGENET_DEFAULT_MEAN


def test_what_became_of_weights_from_elsewhere_is_printed_and_kept(run, tmp_path, capsys):
    folder, encoder = run
    state = encoder.state_dict()
    bare = {f"net.{name}": one for name, one in state.items() if name != "mask_token"}
    torch.save(bare | {"net.head.bias": torch.zeros(2)}, tmp_path / "c.pth")
    loaded = load_encoder(tmp_path / "c.pth", img_size=96, window_size=6)
    printed = capsys.readouterr().err.splitlines()
    assert printed == loaded.report.lines(str(tmp_path / "c.pth"))
    where, num = "net.backbone.", len(bare)
    assert printed[0] == f"{tmp_path / 'c.pth'}: timm's Swin under {where!r}: {num} tensors loaded"
    assert printed[1].startswith("  resized 4: backbone.layers.0.blocks.0.attn.relative_position_")
    assert printed[2:] == [
        "  dropped 1: net.head.bias",
        "  missing 1: mask_token, as it starts",
        "  tables of positions are taken to be of windows of 4 x 4 tokens: nobody says",
    ]
    assert sorted(load_encoder(folder).report.loaded) == sorted(state)
    assert capsys.readouterr().err == ""


def test_weights_without_a_card_need_somebody_who_says_mean_and_deviation(run, tmp_path):
    folder, encoder = run
    path = tmp_path / "bare.pt"
    torch.save(encoder.state_dict(), path)
    with pytest.raises(UserError, match=r"mean=None and std=None of .*bare.pt: each must have"):
        load_encoder(path, img_size=64)
    loaded = load_encoder(path, img_size=64, window_size=4, mean=MEAN, std=STD)
    assert (loaded.card.mean, loaded.preprocess.std) == (MEAN, STD)
    assert torch.equal(loaded(PIXELS), load_encoder(folder)(PIXELS))
    with pytest.raises(UserError, match="each of its 3 channels"):
        load_encoder(path, mean=(0.5,), std=(0.5,))
    with pytest.raises(UserError, match=r"was trained with .*leave both out"):
        load_encoder(folder, mean=(0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("source", "changes", "error", "told"),
    [
        (
            "no/such/run",
            {},
            FileNotFoundError,
            "no encoder weights at no/such/run: .*/run is not there; give",
        ),
        (
            "swin_tiny_224",
            {},
            FileNotFoundError,
            "or a name of timm's weights: nearest .*swin_tiny_p",
        ),
        ("swin_tiny_patch4_window7_224.nobody", {}, UserError, "timm has no weights of swin_tiny"),
        (None, {"nothing": 1}, UserError, "a Swin has no nothing; it takes only"),
        (None, {"crop_pct": 0.0}, UserError, "crop_pct=0.0 must be above 0 and at most 1"),
        (None, {"decoder": "gpu"}, UserError, "decoder='gpu' 'fast' or 'pil'"),
    ],
)
def test_what_cannot_be_loaded_is_one_clear_line(run, source, changes, error, told):
    with pytest.raises(error, match=told) as caught:
        load_encoder(source or run[0], **changes)
    assert "\n" not in str(caught.value)


# A cache of timm's, as its own download leaves it, and no network.
NAMED = """
import os, pathlib, timm, torch, safetensors.torch
from ssl_swin.errors import MachineError
from ssl_swin.pretrained.load import load_encoder
name = "swin_s3_tiny_224"
try:
    load_encoder(name)
    raise SystemExit("nothing is there yet")
except MachineError as error:
    assert "are not in its cache" in str(error), error
model = timm.create_model(name)
repository = timm.get_pretrained_cfg(name).hf_hub_id.replace("/", "--")
place = pathlib.Path(os.environ["HF_HOME"], "hub", f"models--{repository}")
commit = "0" * 40
(place / "snapshots" / commit).mkdir(parents=True)
(place / "refs").mkdir()
(place / "refs" / "main").write_text(commit)
path = place / "snapshots" / commit / "model.safetensors"
safetensors.torch.save_file(model.state_dict(), path)
loaded = load_encoder(name)
assert loaded.img_size == (224, 224) and loaded.card.architecture["name"].startswith(name)
images = torch.rand(1, 3, 224, 224)
model.reset_classifier(0)
with torch.no_grad():
    torch.testing.assert_close(loaded(images), model.eval()(images))
"""


@pytest.mark.slow
def test_a_name_of_timms_is_loaded_from_its_cache(tmp_path):
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", NAMED], env=environment, check=True)
