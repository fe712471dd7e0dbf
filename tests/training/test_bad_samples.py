"""What cannot be decoded is counted, named once an epoch over all lives, and limited."""

import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from ssl_swin.__main__ import run as command
from ssl_swin.config.run import PretrainConfig
from ssl_swin.record.lines import read_lines
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import read_summary
from tests.training.launch import (
    finish,
    interrupt,
    pretrain_config,
    start,
    train,
)

BROKEN = {5, 17, 30, 31, 99}


@pytest.fixture(scope="module")
def broken_shards(tiny_shards):
    return tiny_shards([40, 63], broken=BROKEN)


def build(run_dir: Path, shards: Path, devices: int = 1) -> PretrainConfig:
    config = pretrain_config(run_dir, shards, devices=devices, log_every_steps=5)
    return replace(config, data=replace(config.data, val_shards=None, max_bad_share=0.1))


def names(run: Path) -> list[tuple]:
    lines = read_lines(run / "bad_samples.jsonl")
    return sorted((line["epoch"], line["index"], line["key"], line["shard"]) for line in lines)


def test_the_bad_are_named_once_whatever_the_processes_and_the_kills(tmp_path, broken_shards):
    straight = train(build(tmp_path / "straight", broken_shards))
    run = tmp_path / "run"
    assert interrupt(build(run, broken_shards, 2), 7, signal.SIGKILL) != {0}
    with (run / "bad_samples.jsonl").open("a") as file:
        file.write('{"step": 5, "epo')  # a disk that was full, or a power failure
    assert interrupt(build(run, broken_shards, 2), 12, signal.SIGTERM) == {75}
    assert finish(start(build(run, broken_shards))) == {0}
    assert names(run) == names(straight)
    assert len(set(names(run))) == len(names(run))
    assert {index for _, index, _, _ in names(run)} == BROKEN
    assert (0, 17, "000017", "tiny-000000.tar") in names(run)
    for folder in (straight, run):
        (line, *_) = read_lines(folder / "bad_samples.jsonl")
        assert "cannot identify image file" in line["reason"]
        summary = read_summary(RunFolder(folder))
        assert summary is not None
        assert summary.bad_samples == len(names(straight))
        points = [x for x in read_lines(folder / "metrics.jsonl") if "data/bad_samples" in x]
        assert points[-1]["data/bad_samples"] == summary.bad_samples


def test_too_many_bad_samples_stop_the_run_with_one_line(tmp_path, tiny_shards, capsys, trained):
    shards = tiny_shards([16], broken=range(3, 15))
    arguments, _ = trained
    folder = tmp_path / "bad"
    options = [f"--data.shards={shards}", f"--run-dir={folder}"]
    assert command([*arguments, *options, "--data.max-bad-share=0.005"]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    assert "12 of 16 images could not be decoded, data.max_bad_share=0.005 allows fewer" in line
    assert str(folder / "bad_samples.jsonl") in line
    assert not (folder / "checkpoints" / "last.ckpt").exists()
    shutil.rmtree(folder)
    assert command([*arguments, *options, "--data.max-bad-share=0.02"]) == 0


def test_a_shard_of_nothing_but_bad_samples_does_not_end_a_run(tmp_path, tiny_shards, trained):
    shards = tiny_shards([14, 2], broken={14, 15})
    arguments, _ = trained
    options = [f"--data.shards={shards}", f"--run-dir={tmp_path / 'bad'}"]
    assert command([*arguments, *options]) == 0
    assert [index for _, index, _, _ in names(tmp_path / "bad")] == [14, 15]
