"""A run folder whose settings are not those of today goes on, in training and for `submit`."""

import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from ssl_swin.__main__ import run
from ssl_swin.config import earlier
from ssl_swin.config.model import ModelConfig
from ssl_swin.training.checkpoint_file import read_checkpoint, write_checkpoint
from tests.cluster.bin import write_programs
from tests.releases.going_on import weights
from tests.releases.test_releases import FOLDER, expected, require_same

KEPT = FOLDER / "0.1" / "pretrain"


@pytest.fixture
def old(tmp_path, monkeypatch):
    """The folder of a run that knew `optim.rate`, `optim.nesterov`, and of no drop path.

    What such runs did was a drop path of 0.1, which the release that is kept here did.
    """
    monkeypatch.setattr(earlier, "RENAMED", {"optim.rate": "optim.base_lr"})
    monkeypatch.setattr(earlier, "REMOVED", {"optim.nesterov": False, "training.pretty": ...})
    drop_path = ModelConfig.__dataclass_fields__["drop_path_rate"]
    monkeypatch.setattr(drop_path, "metadata", {"before": 0.1})
    folder = tmp_path / "run"
    shutil.copytree(KEPT, folder)
    content = yaml.safe_load((folder / "config.yaml").read_text())
    state = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    assert content["model"].pop("drop_path_rate") == state["config"].pop("model.drop_path_rate")
    content["optim"]["rate"] = content["optim"].pop("base_lr")
    state["config"]["optim.rate"] = state["config"].pop("optim.base_lr")
    content["optim"]["nesterov"] = state["config"]["optim.nesterov"] = False
    content["training"]["pretty"] = state["config"]["training.pretty"] = 3
    content["run_dir"] = str(folder)
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    write_checkpoint(folder / "checkpoints" / "last.ckpt", state)
    monkeypatch.setenv("PATH", f"{write_programs(tmp_path / 'bin')}:{os.environ['PATH']}")
    return folder


SAID = (
    "optim.rate is optim.base_lr today",
    "optim.nesterov is no more, all runs do as with False",
    "training.pretty is no more, and changes nothing",
    "model.drop_path_rate=0.1, as when this run began",
)


def test_it_goes_on_to_the_weights_it_would_have_had(old, capsys):
    threads = torch.get_num_threads()
    assert run(["pretrain", str(old / "config.yaml")]) == 0
    torch.set_num_threads(threads)
    told = capsys.readouterr().out
    assert all(told.count(line) == 1 for line in SAID)
    prefix = "weights/"
    known = {n.removeprefix(prefix): v for n, v in expected(KEPT).items() if n.startswith(prefix)}
    require_same(weights(old), known, KEPT.parent)
    now = yaml.safe_load((old / "config.yaml").read_text())
    assert (now["model"]["drop_path_rate"], now["optim"]["base_lr"]) == (0.1, 4e-3)
    assert not {"rate", "nesterov", "pretty"} & (now["optim"].keys() | now["training"].keys())
    state = read_checkpoint(old / "checkpoints" / "last.ckpt")
    assert state["config"]["model.drop_path_rate"] == 0.1
    assert "version" in state


def test_submit_says_the_same(old, capsys):
    assert run(["submit", "pretrain", str(old / "config.yaml"), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert f"{old} goes on from step 5" in told
    assert all(told.count(line) == 1 for line in SAID)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model.drop_path_rate=0"], "holds a run with model.drop_path_rate=0.1, this config"),
        (["--optim.rate=1"], "holds a run with optim.base_lr=0.004, this config says 1.0"),
        (["--optim.nesterov=true"], "--optim.nesterov is no more, all runs do as with False, not"),
        (
            ["--data.shards=data/fashion-mnist-sample/test-{000000..000001}.tar"],
            "training shards chang",
        ),
        (["--seed=9"], "holds a run with seed=1, this config says 9"),
        (["--resume-from", "no.ckpt", "--run_dir=runs/none"], "no.ckpt cannot be read as a check"),
    ],
)
def test_what_is_refused_is_refused_by_both_with_one_sentence(old, capsys, words, said):
    words = ["pretrain", str(old / "config.yaml"), *words]
    assert run(words) == run(["submit", *words]) == 2
    first, second = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert first == second
    assert said in first
    assert not Path("runs/none").exists()


@pytest.mark.usefixtures("short_timing")
def test_without_a_checkpoint_nothing_is_held_against_a_new_config(old, capsys):
    (old / "checkpoints" / "last.ckpt").unlink()
    (old / "checkpoints.jsonl").unlink()  # it names that one
    words = ["pretrain", str(old / "config.yaml"), "--seed=9"]
    assert run([*words, "--dry-run"]) == run(["submit", *words, "--dry-run"]) == 0
    assert f"{old} is new" in capsys.readouterr().out
