"""Each seam with a toy: one file in tests/toys, one line in a table, through the command line."""

import os
import signal

import pytest
import torch

from ssl_swin import signals
from ssl_swin.__main__ import run
from ssl_swin.models.encoder import ENCODERS
from ssl_swin.pretrained.open import open_encoder
from tests.toys.toy_encoder import ToyEncoder

TOY_MODEL = [
    "--model.name=toy",
    *(f"--model.{size}=null" for size in ("window_size", "embed_dim", "depths", "num_heads")),
    "--training.num_threads=1",
    "--data.num_workers=0",
]


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
        ways = [f"--run_dir={tmp_path / name}", f"--data.shards={shards}", "--data.val_shards=null"]
        numbers = ["--training.global_batch_size=8", "--optim.warmup_epochs=0"]
        return run([command, f"configs/{command}/demo.yaml", *ways, *numbers, *settings])

    return train


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["model"]


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
    tuning = [*TOY_MODEL, "--optim.epochs=1", "--optim.base_lr=1e-9", "--data.num_labels=null"]
    assert train("finetune", "tuned", *tuning, f"--encoder={tmp_path / 'stopped'}") == 0
    tuned = weights(tmp_path / "tuned")  # at so small a rate, where it started
    for name, value in handed_on.items():
        torch.testing.assert_close(tuned[f"network.encoder.{name}"], value, rtol=0, atol=1e-6)
