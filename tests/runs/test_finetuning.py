from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ssl_swin.config.settings import with_values
from ssl_swin.pretrained.open import find_weights
from ssl_swin.record.loaded import read_loaded
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs import life
from ssl_swin.runs.build import build
from ssl_swin.runs.describe import describe
from ssl_swin.runs.export import export_encoder
from ssl_swin.training.checkpoint_file import read_checkpoint
from tests.training.launch import finetune_config


@pytest.fixture
def config(tiny_shards, tmp_path):
    return finetune_config(tmp_path / "run", tiny_shards([60], mode="RGB"))


def tuned(config, **finetune):
    return build(replace(config, finetune=replace(config.finetune, **finetune))).module


def test_by_default_the_loss_is_the_plain_one(config):
    loss = tuned(config).class_loss
    assert (loss.weights, loss.gamma) == (None, 0.0)


def test_gamma_is_that_of_the_focal_loss_alone(config):
    assert tuned(config, focal_gamma=3.0).class_loss.gamma == 0.0
    assert tuned(config, focal_gamma=3.0, loss="focal").class_loss.gamma == 3.0


def test_weights_are_float64_where_all_is(config):
    training = replace(config.training, precision="fp64")
    weights = tuned(replace(config, training=training), class_weights="balanced").class_loss.weights
    assert weights.tolist() == [1.0] * 10
    assert str(weights.dtype) == "torch.float64"


def test_the_head_learns_alone_and_the_rest_has_moments_after_that(config):
    optim = replace(config.optim, epochs=2, warmup_epochs=0)
    finetune = replace(config.finetune, head_epochs=1)
    config = replace(config, optim=optim, finetune=finetune)
    before = build(config).module.state_dict()
    assert life.run(config) == 0
    folder = RunFolder(Path(config.run_dir))
    state = read_checkpoint(folder.last)
    steps = {int(one["step"]) for one in state["optimizer"]["state"].values()}
    assert steps == {2, 4}  # of the encoder, of the head
    first = {"run_dir": f"{config.run_dir}-first", "training.keep_every_epochs": 1}
    assert life.run(with_values(config, first)) == 0
    kept = read_checkpoint(RunFolder(Path(first["run_dir"])).kept(1))["model"]
    moved = {name for name, one in kept.items() if not torch.equal(one, before[name])}
    assert moved == {"network.head.weight", "network.head.bias"}


@pytest.mark.usefixtures("short_timing")
def test_what_a_step_takes_is_that_of_one_that_trains_all(config):
    finetune = replace(config.finetune, head_epochs=1)
    run = build(replace(config, finetune=finetune))
    assert run.module.head_steps == 2
    describe(run)
    assert run.module.head_steps == 0


def test_what_became_of_the_encoder_s_file_is_kept_with_the_run_and_told(config, tmp_path, capsys):
    path = tmp_path / "encoder.safetensors"
    first = build(config)
    export_encoder(first, path, first.module.state_dict())
    optim = replace(config.optim, epochs=1, warmup_epochs=0)
    config = replace(config, encoder=str(path), optim=optim)
    folder = RunFolder(Path(config.run_dir))
    assert read_loaded(folder) is None
    assert life.run(config) == 0
    found = read_loaded(folder)
    assert found.source == str(path)
    assert {*found.named["loaded"]} == find_weights(path).state.keys()
    assert str(folder.loaded) in capsys.readouterr().out
    folder.summary.unlink()
    assert life.run(config) == 0  # from the checkpoint; the file is not read again
    assert read_loaded(folder) == found
    other = replace(config, encoder=None, run_dir=f"{config.run_dir}-2")
    again = RunFolder(Path(other.run_dir))
    again.root.mkdir()
    again.loaded.write_bytes(folder.loaded.read_bytes())  # of a start that took no step
    capsys.readouterr()
    assert life.run(other) == 0
    assert not again.loaded.exists()
    assert "began with" not in capsys.readouterr().out
