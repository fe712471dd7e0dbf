import os
import pickle
import shutil

import pytest
import torch

from ssl_swin.__main__ import run
from ssl_swin.training.checkpoint import FORMAT, read_checkpoint, restore, write_checkpoint


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_a_checkpoint_is_read_back_as_it_was_written(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    weights = {"a": torch.arange(3.0), "b": torch.zeros(2, dtype=torch.int64)}
    write_checkpoint(path, {"format": FORMAT, "step": 3, "model": weights, "metrics": {"x": 0.5}})
    state = read_checkpoint(path)
    assert (state["step"], state["metrics"]) == (3, {"x": 0.5})
    assert all(torch.equal(state["model"][name], weights[name]) for name in weights)
    assert os.listdir(path.parent) == ["last.ckpt"]


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"]r}", b"ho ", b".\xbd;\x12", b"\xff\xfe\xfa", b"PK\x03\x04", bytes(999)],
)
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path, data):
    path = tmp_path / "x.ckpt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"x.ckpt cannot be read as a checkpoint") as info:
        read_checkpoint(path)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_checkpoint_cut_short_is_refused(tmp_path, share):
    path = tmp_path / "x.ckpt"
    write_checkpoint(path, {"format": FORMAT, "model": {"a": torch.zeros(10_000)}})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize("missing", ["nothing.ckpt", "."])
def test_a_checkpoint_that_is_not_there_is_refused(tmp_path, missing):
    with pytest.raises(ValueError, match=r"cannot be read as a checkpoint: (No such|Is a)"):
        read_checkpoint(tmp_path / missing)


@pytest.mark.parametrize("state", [{}, {"format": FORMAT + 1}, [1], {"model": {}}])
def test_another_program_s_weights_are_refused_with_a_way_out(tmp_path, state):
    torch.save(state, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"is not a checkpoint of a run .* with `encoder`"):
        read_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize(
    "save", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state, 2))]
)
def test_nothing_in_a_checkpoint_is_executed(tmp_path, monkeypatch, save):
    monkeypatch.chdir(tmp_path)
    save({"format": FORMAT, "model": Bomb()}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        read_checkpoint(tmp_path / "x.ckpt")
    assert not (tmp_path / "executed").exists()


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
    more = [*arguments, "--optim.epochs=3", f"--run_dir={folder.parent / 'new'}"]
    return [*more, f"--resume-from={folder / 'checkpoints' / 'last.ckpt'}"], folder.parent / "new"


def test_checkpoints_are_kept_as_often_as_asked_for(longer):
    arguments, folder = longer
    assert run([*arguments, "--training.keep_every_epochs=2"]) == 0
    assert sorted(os.listdir(folder / "checkpoints")) == ["epoch-0002.ckpt", "last.ckpt"]
    assert sorted(os.listdir(folder / "encoders")) == [
        "epoch-0002.json",
        "epoch-0002.safetensors",
    ]
    assert read_checkpoint(folder / "checkpoints" / "epoch-0002.ckpt")["step"] == 4
    assert read_checkpoint(folder / "checkpoints" / "last.ckpt")["step"] == 6


def test_a_run_killed_between_two_checkpoints_ends_with_the_same_weights(longer):
    arguments, folder = longer
    assert run([*arguments, "--training.keep_every_epochs=1"]) == 0
    whole = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    middle = (folder / "checkpoints" / "epoch-0002.ckpt").read_bytes()
    shutil.rmtree(folder)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").write_bytes(middle)
    assert run(arguments) == 0
    again = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    assert (whole["step"], again["step"]) == (6, 6)
    assert all(torch.equal(again["model"][name], value) for name, value in whole["model"].items())
