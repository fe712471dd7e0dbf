import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ssl_swin.__main__ import run
from ssl_swin.config.data import LabelledDataConfig
from ssl_swin.config.run import FinetuneConfig
from ssl_swin.config.settings import flatten
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs.from_encoder import MODEL
from ssl_swin.runs.left_open import LeftOpen, as_chosen
from ssl_swin.runs.sets import RunSets
from ssl_swin.training.checkpoint_file import read_checkpoint, write_checkpoint

RGB = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
GIVEN = frozenset({"data.shards", "run_dir"})


@pytest.fixture
def config():
    return FinetuneConfig("run", LabelledDataConfig("shards", num_labels=100, **RGB), 3)


def test_with_a_config_file_nothing_is_chosen(config):
    for given in ((), {"config", "data.shards"}):
        left = LeftOpen(RunSets([], None, []), given)
        assert left.begin(config) == left.go_on(config, {}) == (config, ())


def test_without_one_everything_is_chosen_and_told(config):
    found, said = LeftOpen(RunSets([], None, []), GIVEN, on_gpu=False).begin(config)
    before, after = flatten(config), flatten(found)
    told = "\n".join(said)
    for name in (name for name in after if after[name] != before[name]):
        assert f"{name}=" in told
    assert found.training.global_batch_size == 16
    assert said[0].startswith("no config file was given; chosen")


def test_what_is_given_is_kept_and_what_hangs_on_it_follows(config):
    batch = replace(config, training=replace(config.training, global_batch_size=50))
    asked = replace(batch, optim=replace(config.optim, epochs=7, warmup_epochs=0))
    given = {*GIVEN, "optim.epochs", "optim.warmup_epochs"}
    found, _ = LeftOpen(RunSets([], None, []), given, on_gpu=False).begin(asked)
    assert (found.optim.epochs, found.optim.warmup_epochs) == (7, 0)
    assert found.training.global_batch_size == 50
    other, _ = LeftOpen(RunSets([], None, []), GIVEN, on_gpu=False).begin(config)
    assert found.optim.base_lr * 50 == pytest.approx(other.optim.base_lr * 16, rel=1e-2)


def test_a_run_that_goes_on_keeps_what_was_chosen_and_not_its_layout(config):
    left = LeftOpen(RunSets([], None, []), GIVEN, on_gpu=False)
    begun, _ = left.begin(config)
    chosen = ("optim.epochs", "data.crop_scale")
    state = {"config": flatten(begun), "chosen": [*chosen]}
    again, names = as_chosen(config, state, {*GIVEN, "config"})
    assert names == chosen
    assert (again.optim.epochs, again.data.crop_scale) == (begun.optim.epochs, (0.3, 1.0))
    assert again.optim.base_lr == config.optim.base_lr  # as the file says by leaving it out
    assert as_chosen(config, state, GIVEN)[0].optim == begun.optim
    given = {*GIVEN, "optim.epochs"}
    assert as_chosen(config, state, given)[0].optim.epochs == config.optim.epochs
    elsewhere, _ = replace(left, on_gpu=True).go_on(begun, {})
    assert elsewhere.data.num_workers >= 1
    assert elsewhere.optim == begun.optim


def test_a_run_that_began_before_choices_were_named_keeps_its_model(config):
    stored = flatten(config) | {"model.depths": [1, 2], "num_classes": 3, "optim.epochs": 9}
    asked = replace(config, num_classes=None)
    found, names = as_chosen(asked, {"config": stored}, ())
    assert (found.model.depths, found.num_classes) == ((1, 2), 3)
    assert found.optim.epochs == config.optim.epochs
    assert set(names) == {*MODEL, "num_classes"}


@pytest.fixture
def tuned(trained, tiny_shards, tmp_path):
    """The words of a fine-tuning without a config file, and its folder."""
    shards, folder = tiny_shards([20, 12]), RunFolder(tmp_path / "tuned")
    assert run(["shards", "index", str(shards)]) == 0
    words = [
        *("finetune", f"--encoder={trained[1]}", f"--data.shards={shards}"),
        *(f"--data.val_shards={shards}", f"--run_dir={folder.root}", "--optim.epochs=1"),
    ]
    return words, folder


def test_no_config_file_is_needed(tuned, capsys):
    words, folder = tuned
    assert run([*words, "--dry-run"]) == 0
    assert not folder.root.exists()
    assert run(words) == 0
    said = capsys.readouterr().out
    assert "num_classes=10, since the labels of" in said
    assert "embed_dim=16, depths=(1, 1), num_heads=(1, 2), as the encoder" in said
    content = yaml.safe_load(folder.config.read_text())
    assert (content["num_classes"], content["model"]["depths"]) == (10, [1, 1])
    assert folder.classifier.is_file()
    last = read_checkpoint(folder.last)
    assert "optim.base_lr" in last["chosen"]
    assert "data.num_workers" not in last["chosen"]
    assert last["classes"] == [*"0123456789"]
    # stopped, and given again
    folder.summary.unlink()
    write_checkpoint(folder.last, last | {"step": 1})
    assert run([word for word in words if not word.startswith("--optim")]) == 0  # as it began
    assert yaml.safe_load(folder.config.read_text())["optim"] == content["optim"]
    folder.summary.unlink()
    write_checkpoint(folder.last, last | {"step": 1})
    assert run([*words, "--num_classes=11"]) == 2
    assert "holds a run with num_classes=10, this config says 11" in capsys.readouterr().err


def test_submit_checks_and_writes_a_run_without_a_config_file(tuned, capsys):
    words, _ = tuned
    assert run(["submit", *words, "--gpus-per-node=0", "--time=1:00:00", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "num_classes=10, since the labels of" in said
    script = said[said.index("#!/bin/bash") :]
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert '"${program[@]}" finetune "${settings[@]}"' in script
    assert "settings=(--encoder=" in script
    assert str(Path(words[1].partition("=")[2])) in script
