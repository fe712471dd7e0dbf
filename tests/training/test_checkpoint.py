import gc
import json
import os
import re
import shutil
import threading
import weakref
from functools import partial

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ssl_swin.__main__ import run
from ssl_swin.record.lines import read_lines
from ssl_swin.runs import build
from ssl_swin.training import checkpoint_file
from ssl_swin.training.checkpoint import restore
from ssl_swin.training.checkpoint_file import read_checkpoint
from ssl_swin.training.learner import Learner
from ssl_swin.training.pretrain import PretrainModule


def test_a_run_s_checkpoint_holds_what_is_needed_to_go_on(trained):
    _, folder = trained
    state = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    assert (state["step"], state["samples_seen"], state["kind"]) == (2, 16, "pretrain")
    assert state["config"]["training.global_batch_size"] == 8
    assert state["shards"]["num_samples"] == 16
    assert state["num_lanes"] == 8
    assert len(state["optimizer"]["state"]) > 0
    assert sorted(os.listdir(folder / "checkpoints")) == ["last.ckpt"]


@pytest.mark.parametrize("change", ["shape", "missing", "more"])
def test_weights_of_another_architecture_are_refused_by_their_name(change):
    module = torch.nn.Module()
    module.weight = torch.nn.Parameter(torch.zeros(3))
    model = {"shape": {"weight": torch.zeros(4)}, "missing": {}}.get(
        change, {"weight": torch.zeros(3), "other": torch.zeros(1)}
    )
    with pytest.raises(ValueError, match=r"another architecture: (weight|other) is (.+) there and"):
        restore(module, {"model": model})


@pytest.fixture
def longer(trained):
    """The two-step run, to be gone on with for two more epochs, in a folder of its own."""
    arguments, folder = trained
    more = [*arguments, "--optim.epochs=3", f"--run-dir={folder.parent / 'new'}"]
    return [*more, f"--resume-from={folder / 'checkpoints' / 'last.ckpt'}"], folder.parent / "new"


def test_checkpoints_are_kept_as_often_as_asked_for(longer):
    arguments, folder = longer
    assert run([*arguments, "--training.keep-every-epochs=2"]) == 0
    names = ["epoch-0002.ckpt", "last.ckpt", "previous.ckpt"]
    assert sorted(os.listdir(folder / "checkpoints")) == names
    assert sorted(os.listdir(folder / "encoders")) == [
        "epoch-0002.json",
        "epoch-0002.safetensors",
    ]
    assert read_checkpoint(folder / "checkpoints" / "epoch-0002.ckpt")["step"] == 4
    assert read_checkpoint(folder / "checkpoints" / "last.ckpt")["step"] == 6


def test_a_kept_checkpoint_holds_what_was_counted_until_then(longer, monkeypatch):
    arguments, folder = longer
    take = PretrainModule.loss

    def loss(self, micro):
        return take(self, micro) * (float("nan") if self.step == 2 else 1.0)

    monkeypatch.setattr(PretrainModule, "loss", loss)
    seldom = ["--training.log-every-steps=100", "--training.checkpoint-every-steps=0"]
    assert run([*arguments, "--training.keep-every-epochs=2", *seldom]) == 0
    state = read_checkpoint(folder / "checkpoints" / "epoch-0002.ckpt")
    assert (state["step"], state["metrics"]["bad_steps"]) == (4, 1)


def test_a_run_killed_between_two_checkpoints_ends_with_the_same_weights(longer):
    arguments, folder = longer
    assert run([*arguments, "--training.keep-every-epochs=1"]) == 0
    whole = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    middle = (folder / "checkpoints" / "epoch-0002.ckpt").read_bytes()
    shutil.rmtree(folder)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").write_bytes(middle)
    assert run(arguments) == 0
    again = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    assert (whole["step"], again["step"]) == (6, 6)
    assert all(torch.equal(again["model"][name], value) for name, value in whole["model"].items())


def test_a_checkpoint_in_the_background_is_of_its_step_and_not_of_a_later_one(longer, monkeypatch):
    arguments, folder = longer
    assert run([*arguments, "--training.keep-every-epochs=1"]) == 0
    straight = read_checkpoint(folder / "checkpoints" / "epoch-0002.ckpt")
    shutil.rmtree(folder)
    save, begun = torch.save, threading.Event()

    def slow_save(state, file):
        begun.wait(0.2)  # the next steps go on meanwhile
        save(state, file)

    monkeypatch.setattr(checkpoint_file.torch, "save", slow_save)
    options = ["--training.keep-every-epochs=1", "--training.async-checkpoint=true"]
    assert run([*arguments, *options]) == 0
    background = read_checkpoint(folder / "checkpoints" / "epoch-0002.ckpt")
    for part in ("model", "optimizer"):
        assert_equal(background[part], straight[part])
    assert read_checkpoint(folder / "checkpoints" / "last.ckpt")["step"] == 6


@pytest.mark.parametrize("background", ["true", "false"])
def test_a_checkpoint_that_cannot_be_written_stops_the_run(longer, monkeypatch, capsys, background):
    arguments, folder = longer

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_file.torch, "save", full)
    options = ["--training.checkpoint-every-steps=1", f"--training.async-checkpoint={background}"]
    assert run([*arguments, *options]) == 1
    assert f"error: the disk is full in {folder}/checkpoints" in capsys.readouterr().err
    assert os.listdir(folder / "checkpoints") == []
    (end,) = [json.loads(line) for line in (folder / "ends.jsonl").read_text().splitlines()]
    assert end["status"] == 1
    assert end["reason"].startswith("MachineError: the disk is full")
    assert end["step"] < 6


def test_a_life_does_not_hold_the_checkpoint_that_it_began_with(longer, monkeypatch):
    """Of what was read, training keeps the moments that have become the optimiser's own."""
    arguments, _ = longer
    step, loaded, kept = Learner.training_step, [], []

    def read(path):
        state = read_checkpoint(path)
        moments = [value for one in state["optimizer"]["state"].values() for value in one.values()]
        loaded.extend(weakref.ref(value) for value in [*state["model"].values(), *moments])
        return state

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers(use_pl_optimizer=False)
        own = {id(value) for one in optimizer.state.values() for value in one.values()}
        gc.collect()
        kept.append([one for ref in loaded if (one := ref()) is not None and id(one) not in own])
        step(self, batch, batch_idx)

    monkeypatch.setattr(build, "find_start", partial(build.find_start, read=read))
    monkeypatch.setattr(Learner, "training_step", training_step)
    assert run(arguments) == 0
    assert len(loaded) > 100
    assert kept == [[]] * 4


def assert_equal(first, second):
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_equal(first[key], second[key])
    elif isinstance(first, list):
        for pair in zip(first, second, strict=True):
            assert_equal(*pair)
    else:
        assert first == second


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("damage", [truncate, os.unlink])
def test_a_run_passes_over_a_damaged_checkpoint_and_logs_no_point_twice(longer, damage, capsys):
    arguments, folder = longer
    arguments = [*arguments, "--training.keep-every-epochs=1", "--training.log-every-steps=1"]
    assert run(arguments) == 0
    straight = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    (folder / "summary.json").unlink()
    damage(folder / "checkpoints" / "last.ckpt")
    capsys.readouterr()
    assert run(arguments) == 0
    warnings = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert "last.ckpt cannot be read as a checkpoint" in warnings[0]
    assert "going on from" in warnings[0]
    assert "previous.ckpt, step 4" in warnings[0]
    again = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    assert again["step"] == 6
    assert [line["step"] for line in read_lines(folder / "checkpoints.jsonl")] == [4, 6, 4, 6]
    assert (folder / "checkpoints" / "damaged.ckpt").is_file() == (damage is truncate)
    assert_equal(again["model"], straight["model"])
    assert read_checkpoint(folder / "checkpoints" / "previous.ckpt")["step"] == 4
    events = EventAccumulator(str(folder / "train")).Reload().Scalars("loss")
    assert [event.step for event in events] == [3, 4, 5, 6]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(116, "Stale file handle"), r"last\.ckpt: Stale file handle; its storage fails"),
        (RuntimeError("can't allocate memory"), r"no memory to read .*last\.ckpt"),
    ],
)
def test_a_checkpoint_that_does_not_come_is_not_damaged(longer, error, told, monkeypatch, capsys):
    arguments, folder = longer
    assert run([*arguments, "--training.keep-every-epochs=1"]) == 0
    (folder / "summary.json").unlink()
    before = {path.name: path.read_bytes() for path in (folder / "checkpoints").iterdir()}

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(checkpoint_file.torch, "load", fail)
    assert run(arguments) == 1
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert re.search(told, line)
    assert {path.name: path.read_bytes() for path in (folder / "checkpoints").iterdir()} == before


def test_two_damaged_checkpoints_are_one_error_that_names_both(longer, capsys):
    arguments, folder = longer
    assert run([*arguments, "--training.keep-every-epochs=1"]) == 0
    (folder / "summary.json").unlink()
    for name in ("last.ckpt", "previous.ckpt"):
        truncate(folder / "checkpoints" / name)
    capsys.readouterr()
    assert run(arguments) == 2
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("error")]
    assert "last.ckpt cannot be read as a checkpoint" in line
    assert "previous.ckpt cannot be read as a checkpoint" in line
    assert "--resume-from" in line
