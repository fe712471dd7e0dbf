"""Every switch of a Swin through whole runs: pretrained, stopped, gone on with, fine-tuned."""

import os
import signal
from pathlib import Path

import pytest
import torch
import yaml

from ssl_swin import signals
from ssl_swin.__main__ import run
from ssl_swin.pretrained.open import open_encoder
from ssl_swin.training.learner import Learner

SIZES = {"window_size": 4, "embed_dim": 16, "depths": [2, 1], "num_heads": [1, 2]}  # one is shifted
SWITCHES = [  # and how each is given
    ({"shift": "none"}, "yaml"),
    ({"shift": "padded", "window_size": [4, 2]}, "flags"),
    ({"position": "both"}, "flags"),
    ({"position": "none"}, "flags"),
    ({"mixer": "mlp"}, "yaml"),
    ({"padding": "masked", "window_size": 3}, "flags"),
    ({"name": "swinv2_tiny_window8_256", "pretrained_window_sizes": [3, 4]}, "flags"),
]


pytestmark = pytest.mark.usefixtures("in_the_checkout")


@pytest.fixture
def train(tiny_shards, tmp_path):
    """Runs a command over 24 images, three steps an epoch; returns its status."""
    shards = tiny_shards([15, 9])

    def train(command, name, *settings):
        ways = [f"--run-dir={tmp_path / name}", f"--data.shards={shards}", "--data.val-shards=null"]
        numbers = ["--training.global-batch-size=8", "--training.num-threads=1"]
        length = ["--optim.epochs=1", "--optim.warmup-epochs=0", "--training.panel-every-epochs=0"]
        return run([command, *settings, *ways, *numbers, *length])

    return train


def config(tmp_path, kind, model, how):
    """The demo with another model, by a file or by flags."""
    shipped = f"configs/{kind}/demo.yaml"
    if how == "flags":
        return [shipped, *(f"--model.{name}={value}" for name, value in model.items())]
    content = yaml.safe_load(Path(shipped).read_text())
    content["model"] |= model
    (tmp_path / f"{kind}.yaml").write_text(yaml.safe_dump(content))
    return [str(tmp_path / f"{kind}.yaml")]


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["model"]


@pytest.fixture
def in_the_second_step(monkeypatch):
    """Asks a run to stop, once."""
    take, asked = Learner.training_step, []

    def training_step(self, batch, batch_idx):
        if self.step == 1 and not asked:
            asked.append(os.kill(os.getpid(), signal.SIGTERM))
        take(self, batch, batch_idx)

    monkeypatch.setattr(Learner, "training_step", training_step)


@pytest.mark.usefixtures("in_the_second_step")
@pytest.mark.parametrize(("switch", "how"), SWITCHES, ids=str)
def test_a_switch_holds_from_the_first_step_to_the_classifier(train, tmp_path, switch, how):
    words = config(tmp_path, "pretrain", SIZES | switch, how)
    assert train("pretrain", "stopped", *words) == 75
    signals.forget()
    assert train("pretrain", "stopped", *words) == 0
    assert train("pretrain", "straight", *words) == 0
    straight, stopped = weights(tmp_path / "straight"), weights(tmp_path / "stopped")
    assert all(torch.equal(value, stopped[name]) for name, value in straight.items())

    # A fine-tuning that is not told of the switch has it from the encoder.
    encoder = open_encoder(tmp_path / "stopped").encoder
    assert switch.items() <= encoder.architecture().items()
    sizes = {name: value for name, value in SIZES.items() if name != "window_size"}
    sizes |= {"name": encoder.architecture()["name"], "window_size": "null"}
    tuning = config(tmp_path, "finetune", sizes, "flags")
    still = ["--optim.base-lr=1e-9", "--data.num-labels=null"]
    assert train("finetune", "tuned", *tuning, *still, f"--encoder={tmp_path / 'stopped'}") == 0
    tuned = open_encoder(tmp_path / "tuned").encoder
    assert tuned.architecture() == encoder.architecture()
    for name, value in encoder.state_dict().items():
        torch.testing.assert_close(tuned.state_dict()[name], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({}, {"shift": "none"}, "model.shift"),
        ({"position": "none"}, {"position": "relative"}, "model.position"),
        ({"implementation": "timm"}, {"implementation": "ssl_swin"}, "model.implementation"),
    ],
)
def test_a_run_does_not_go_on_with_another_switch(train, tmp_path, capsys, before, after, said):
    assert train("pretrain", "run", *config(tmp_path, "pretrain", SIZES | before, "flags")) == 0
    assert train("pretrain", "run", *config(tmp_path, "pretrain", SIZES | after, "flags")) == 2
    assert said in capsys.readouterr().err


def test_a_fine_tuning_cannot_switch_what_its_encoder_is(train, tmp_path, capsys):
    words = config(tmp_path, "pretrain", SIZES | {"mixer": "mlp"}, "flags")
    assert train("pretrain", "run", *words) == 0
    other = config(tmp_path, "finetune", SIZES | {"mixer": "attention"}, "flags")
    assert train("finetune", "tuned", *other, f"--encoder={tmp_path / 'run'}") == 2
    assert "model.mixer=attention, but the encoder has mlp" in capsys.readouterr().err
