"""ViTs through whole runs: pretrained, stopped, gone on with, fine-tuned at another size."""

import os
import signal
from dataclasses import replace

import pytest
import torch

from ssl_swin import signals
from ssl_swin.__main__ import run
from ssl_swin.command_line import read_config
from ssl_swin.config.data import LabelledDataConfig
from ssl_swin.config.model import ModelConfig
from ssl_swin.config.run import FinetuneConfig
from ssl_swin.errors import UserError
from ssl_swin.pretrained.card import EncoderCard, write_encoder
from ssl_swin.pretrained.open import open_encoder
from ssl_swin.runs.from_encoder import with_its_model
from ssl_swin.runs.network import build_classifier, build_simmim
from ssl_swin.training.learner import Learner
from tests.runs.vits import OF_VITS
from tests.training.launch import GREY, pretrain_config

SIZES = {"name": "vit_tiny_patch16_224", "img_size": 32, "patch_size": 4, "embed_dim": 16}
SIZES |= {"depths": "[2]", "num_heads": "[2]", "window_size": "null"}
OFFICIAL = {"position": "relative-shared", "qkv_bias": "qv", "init_values": 0.1}
KINDS = {  # of pretraining; what fine-tuning has instead
    "as the official code": (OFFICIAL, {"position": "relative", "fc_norm": True, "img_size": 64}),
    "as in the paper": ({}, {"img_size": 64}),
    "without class token": ({"class_token": False, "position": "both"}, {"fc_norm": True}),
}
first, *more = KINDS

pytestmark = pytest.mark.usefixtures("in_the_checkout")


@pytest.fixture
def train(tiny_shards, tmp_path):
    """Runs a command over 24 images, three steps an epoch; returns its status."""
    shards = tiny_shards([15, 9])

    def train(command, name, model, *settings):
        sizes = [f"--model.{key.replace('_', '-')}={value}" for key, value in model.items()]
        ways = [f"--run-dir={tmp_path / name}", f"--data.shards={shards}", "--data.val-shards=null"]
        numbers = ["--training.global-batch-size=8", "--training.num-threads=1"]
        length = ["--optim.epochs=1", "--optim.warmup-epochs=0", "--training.panel-every-epochs=1"]
        start = [command, f"configs/{command}/demo.yaml", *sizes]
        return run([*start, *ways, *numbers, *length, *settings])

    return train


@pytest.fixture
def in_the_second_step(monkeypatch):
    """Asks a run to stop, once."""
    take, asked = Learner.training_step, []

    def training_step(self, batch, batch_idx):
        if self.step == 1 and not asked:
            asked.append(os.kill(os.getpid(), signal.SIGTERM))
        take(self, batch, batch_idx)

    monkeypatch.setattr(Learner, "training_step", training_step)


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["model"]


@pytest.mark.usefixtures("in_the_second_step")
@pytest.mark.parametrize("kind", [first, *(pytest.param(k, marks=pytest.mark.slow) for k in more)])
def test_a_vit_goes_on_bit_for_bit_and_is_fine_tuned(train, tmp_path, kind):
    before, after = KINDS[kind]
    assert train("pretrain", "stopped", SIZES | before) == 75
    signals.forget()
    assert train("pretrain", "stopped", SIZES | before) == 0
    assert train("pretrain", "straight", SIZES | before) == 0
    straight, stopped = weights(tmp_path / "straight"), weights(tmp_path / "stopped")
    assert all(torch.equal(value, stopped[name]) for name, value in straight.items())

    encoder = open_encoder(tmp_path / "stopped").encoder
    assert before.items() <= encoder.architecture().items()
    left_open = dict.fromkeys(["window_size", "embed_dim", "depths", "num_heads"], "null")
    tuning = left_open | {"name": SIZES["name"], "img_size": 32} | after
    still = ["--optim.base-lr=1e-9", "--data.num-labels=null", f"--encoder={tmp_path / 'stopped'}"]
    assert train("finetune", "tuned", tuning, *still) == 0
    tuned = open_encoder(tmp_path / "tuned").encoder
    sizes = encoder.architecture() | after
    size = sizes["img_size"]
    sizes["img_size"] = [size, size] if isinstance(size, int) else size
    assert tuned.architecture() == sizes
    own = tuned.state_dict()
    for name, value in encoder.state_dict().items():
        if name in own and own[name].shape == value.shape:
            torch.testing.assert_close(own[name], value, rtol=0, atol=1e-6)


VIT = ModelConfig(
    "vit_tiny_patch16_224", 32, 4, embed_dim=16, depths=(2,), num_heads=(2,), class_token=True
)


@pytest.mark.parametrize(("name", "value"), OF_VITS.items())
def test_what_only_a_vit_has_is_in_its_architecture(tmp_path, name, value):
    config = pretrain_config(tmp_path / "run", tmp_path)
    network = build_simmim(replace(config, model=replace(VIT, **{name: value})))
    assert network.encoder.architecture()[name] == value


def test_a_fine_tuning_has_what_its_encoder_is_but_for_what_may_be_another(tmp_path):
    shared = replace(VIT, position="relative-shared", qkv_bias="qv", init_values=0.1)
    config = replace(pretrain_config(tmp_path / "run", tmp_path), model=shared)
    encoder, path = build_simmim(config).encoder, tmp_path / "encoder.safetensors"
    card = EncoderCard.of(encoder, (0.286,), (0.353,))
    write_encoder(path, encoder.state_dict(), card)
    tuning = FinetuneConfig(
        "run", LabelledDataConfig("shards", rand_augment="", **GREY), 10, str(path)
    )
    given = ModelConfig(VIT.name, 64, position="relative", fc_norm=True)
    found, _ = with_its_model(replace(tuning, model=given), ("model.img_size",))
    expected = replace(shared, img_size=64, position="relative", fc_norm=True, norm_eps=1e-6)
    assert found.model == expected
    other = replace(given, class_token=False)
    with pytest.raises(UserError, match=r"model\.class_token=False, but the encoder has True"):
        with_its_model(replace(tuning, model=other), ())


def test_the_published_vit_is_fine_tuned_with_tables_of_its_own_and_a_norm_of_the_mean():
    pretrain, _ = read_config("pretrain", ["configs/pretrain/vit_base_simmim_800ep.yaml"])
    asked, life = read_config("finetune", ["configs/finetune/vit_base_simmim.yaml"])
    found, _ = with_its_model(asked, life["given"], pretrain.model)
    its = {"position": "relative", "fc_norm": True}
    assert found.model == replace(pretrain.model, **its, depths=None, num_heads=None)
    with torch.device("meta"):
        before = build_simmim(pretrain)
        after = build_classifier(replace(asked, num_classes=1000, model=found.model))
    # 86.57 M of ViT-B/16; of SimMIM's: no places, tables of relative ones, and a decoder
    assert sum(one.numel() for one in before.parameters()) == 86_256_720
    assert sum(one.numel() for one in after.parameters()) == 86_531_752
