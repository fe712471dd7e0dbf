import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from ssl_swin.config.data import DataConfig
from ssl_swin.config.optim import OptimConfig
from ssl_swin.config.run import PretrainConfig
from ssl_swin.config.settings import flatten
from ssl_swin.config.training import TrainingConfig
from ssl_swin.record.lives import count_lives
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs.resume import find_start, nested, record_end, record_start
from ssl_swin.training.checkpoint_file import FORMAT, write_checkpoint
from ssl_swin.training.preemption import SlurmJob

SHARDS = {"num_shards": 2, "num_samples": 9, "num_bytes": 100, "fingerprint": "abc"}


@pytest.fixture
def config(tmp_path):
    return PretrainConfig(str(tmp_path / "run"), DataConfig("shards"))


@pytest.fixture
def folder(config):
    """A run folder with a checkpoint."""
    found = RunFolder(Path(config.run_dir))
    state = {"format": FORMAT, "kind": "pretrain", "config": flatten(config), "shards": SHARDS}
    write_checkpoint(found.last, state | {"step": 7})
    return found


def test_a_new_folder_starts_at_the_beginning_and_nothing_is_written(config):
    start = find_start(config, "pretrain", SHARDS, None)
    assert (start.life, start.state, start.changes) == (1, None, {})
    assert not start.folder.root.exists()


@pytest.mark.usefixtures("folder")
def test_the_same_run_goes_on_also_in_another_layout(config):
    assert find_start(config, "pretrain", SHARDS, None).state["step"] == 7
    moved = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, shards="elsewhere", num_workers=0),
        training=TrainingConfig(devices=4, micro_batch_size=3, ledger=True),
    )
    assert find_start(moved, "pretrain", SHARDS, None).state["step"] == 7


@pytest.mark.usefixtures("folder")
def test_another_run_in_the_folder_is_refused_naming_the_first_difference(config):
    other = dataclasses.replace(config, seed=3, optim=OptimConfig(epochs=200))
    with pytest.raises(
        ValueError, match=r"holds a run with seed=0, this config says 3; .*--resume"
    ):
        find_start(other, "pretrain", SHARDS, None)
    with pytest.raises(ValueError, match="holds a run with kind='pretrain'"):
        find_start(config, "finetune", SHARDS, None)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", SHARDS)
def test_another_shard_set_is_refused_naming_what_changed(config, name):
    with pytest.raises(ValueError, match=f"shards changed: {name} was {SHARDS[name]}, is 5;"):
        find_start(config, "pretrain", SHARDS | {name: 5}, None)


def test_a_deliberate_change_starts_in_a_new_folder_and_is_written_down(config, folder, tmp_path):
    other = dataclasses.replace(config, run_dir=str(tmp_path / "new"), seed=3)
    shards = SHARDS | {"num_samples": 10}
    start = find_start(other, "pretrain", shards, folder.last)
    assert start.state["step"] == 7
    assert start.changes == {"seed": (0, 3), "shard set": (SHARDS, shards)}
    record_start(start, other, 7, 1, SlurmJob(None, None, None))
    assert json.loads(start.folder.differences.read_text())["seed"] == [0, 3]
    # Started again before its first checkpoint, it begins there again; then it goes on by itself.
    again = find_start(other, "pretrain", shards, folder.last)
    assert (again.life, again.state["step"]) == (2, 7)
    state = {**again.state, "config": flatten(other), "shards": shards, "step": 9}
    write_checkpoint(again.folder.last, state)
    assert find_start(other, "pretrain", shards, folder.last).state["step"] == 9


def test_a_run_of_the_other_kind_is_no_start(config, folder, tmp_path):
    other = dataclasses.replace(config, run_dir=str(tmp_path / "new"))
    with pytest.raises(ValueError, match="is of a pretrain run; give one of a finetune run"):
        find_start(other, "finetune", SHARDS, folder.last)


def test_lives_are_counted_and_the_config_is_kept_whole(config):
    for life in (1, 2, 3):
        start = find_start(config, "pretrain", SHARDS, None)
        assert start.life == life == count_lives(start.folder) + 1
        record_start(start, config, 5 * life, 2, SlurmJob("17", life - 1, "n[1-2]"))
        record_end(start.folder, life, 9 * life, "signal SIGUSR1", 75, 1.23456)
    lines = [json.loads(line) for line in start.folder.lives.read_text().splitlines()]
    job = {"job": "17", "nodes": "n[1-2]"}
    begun = [{"life": n, "step": 5 * n, "world_size": 2, "restart": n - 1} for n in (1, 2, 3)]
    assert lines == [line | job for line in begun]
    ends = [json.loads(line) for line in start.folder.ends.read_text().splitlines()]
    end = {"reason": "signal SIGUSR1", "status": 75, "seconds": 1.235}
    assert ends == [{"life": n, "step": 9 * n} | end for n in (1, 2, 3)]
    assert yaml.safe_load(start.folder.config.read_text()) == nested(flatten(config))
    assert not start.folder.differences.exists()


def test_nesting_undoes_flattening():
    assert nested({"a": 1, "b.c": 2, "b.d.e": [3]}) == {"a": 1, "b": {"c": 2, "d": {"e": [3]}}}
