"""Each seam with a toy: one file in tests/toys, one line in a table, through the command line."""

import itertools
import os
import signal

import numpy as np
import pytest
import torch

from ssl_swin import signals
from ssl_swin.__main__ import run
from ssl_swin.models.encoder import ENCODERS, build_encoder
from ssl_swin.models.losses import LOSSES
from ssl_swin.models.masking import MASKS
from ssl_swin.models.targets import TARGETS
from ssl_swin.pretrained.open import WEIGHT_FORMATS, open_encoder
from ssl_swin.pretrained.timm import from_timm, to_timm
from tests.toys.toy_encoder import ToyEncoder
from tests.toys.toy_foreign_format import read_toy
from tests.toys.toy_mask import toy_mask
from tests.toys.toy_target import toy_loss, toy_target

TINY_MODEL = ["--model.embed-dim=16", "--model.depths=[1,1]", "--model.num-heads=[1,2]"]
TOY_MODEL = [
    "--model.name=toy",
    *(f"--model.{size}=null" for size in ("window_size", "embed_dim", "depths", "num_heads")),
]
STANDING_STILL = ["--optim.epochs=1", "--optim.base-lr=1e-9", "--data.num-labels=null"]


class ToyThatIsStopped(ToyEncoder):
    """Asks for a stop in the third micro-batch that this process encodes."""

    calls = 0

    def forward(self, images, token_mask=None):
        ToyThatIsStopped.calls += 1
        if ToyThatIsStopped.calls == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().forward(images, token_mask)


@pytest.fixture(autouse=True)
def _signals_are_as_before():
    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    }
    yield
    signals.forget()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def train(tiny_shards, tmp_path):
    """Runs a command over 24 images, three steps an epoch; returns its status."""
    shards = tiny_shards([15, 9])

    def train(command, name, *settings):
        ways = [f"--run-dir={tmp_path / name}", f"--data.shards={shards}", "--data.val-shards=null"]
        numbers = [
            "--training.global-batch-size=8",
            "--optim.warmup-epochs=0",
            "--training.num-threads=1",
        ]
        return run([command, f"configs/{command}/demo.yaml", *ways, *numbers, *settings])

    return train


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["model"]


def assert_has_weights(folder, encoder):
    found = weights(folder)
    for name, value in encoder.items():
        torch.testing.assert_close(found[f"network.encoder.{name}"], value, rtol=0, atol=1e-6)


def test_an_encoder_of_another_kind_pretrains_resumes_and_is_fine_tuned(
    train, tmp_path, monkeypatch
):
    monkeypatch.setitem(ENCODERS, "toy", ToyEncoder)
    pretraining = [*TOY_MODEL, "--optim.epochs=2"]
    assert train("pretrain", "straight", *pretraining) == 0
    monkeypatch.setitem(ENCODERS, "toy", ToyThatIsStopped)
    assert train("pretrain", "stopped", *pretraining) == 75
    signals.forget()
    assert train("pretrain", "stopped", *pretraining) == 0
    straight, stopped = weights(tmp_path / "straight"), weights(tmp_path / "stopped")
    assert straight.keys() == stopped.keys()
    assert all(torch.equal(straight[name], stopped[name]) for name in straight)

    handed_on = open_encoder(tmp_path / "stopped").encoder.state_dict()
    assert all(torch.equal(stopped[f"network.encoder.{n}"], v) for n, v in handed_on.items())
    encoder = f"--encoder={tmp_path / 'stopped'}"
    assert train("finetune", "tuned", *TOY_MODEL, *STANDING_STILL, encoder) == 0
    assert_has_weights(tmp_path / "tuned", handed_on)


def test_fine_tuning_starts_from_a_format_from_elsewhere(train, tmp_path, monkeypatch):
    sizes = {"embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2), "window_size": 8}
    swin = build_encoder("swin_tiny_patch4_window7_224", 32, 1, **sizes)
    theirs = to_timm(swin.state_dict())
    np.savez(tmp_path / "theirs.npz", **theirs)
    start = [*TINY_MODEL, *STANDING_STILL, f"--encoder={tmp_path / 'theirs.npz'}"]
    assert train("finetune", "refused", *start) == 2
    monkeypatch.setitem(WEIGHT_FORMATS, "toy", read_toy)
    assert train("finetune", "tuned", *start) == 0
    assert_has_weights(tmp_path / "tuned", from_timm(theirs))


def test_masks_targets_and_losses_are_chosen_by_name(train, tmp_path, monkeypatch):
    monkeypatch.setitem(MASKS, "toy", toy_mask)
    monkeypatch.setitem(TARGETS, "toy", toy_target)
    monkeypatch.setitem(LOSSES, "toy", toy_loss)
    found = []
    for settings in (
        ["--mask.kind=random", "--target.kind=pixels", "--loss=l1"],
        ["--mask.kind=toy"],
        ["--target.kind=toy"],
        ["--loss=toy"],
        ["--target.kind=normalised_pixels"],
        ["--target.kind=normalised_pixels", "--target.norm-size=7"],
    ):
        name = " ".join(settings)
        assert train("pretrain", name, *TINY_MODEL, "--optim.epochs=1", *settings) == 0
        found.append(weights(tmp_path / name)["network.decoder.conv.weight"])
    for one, other in itertools.combinations(found, 2):
        assert not torch.equal(one, other)
    assert train("pretrain", "unknown", *TINY_MODEL, "--mask.kind=unknown") == 2
