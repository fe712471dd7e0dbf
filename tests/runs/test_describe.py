import os
import re
from functools import partial
from pathlib import Path

import pytest
import torch

from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs import describe as describe_module
from ssl_swin.runs import life
from ssl_swin.runs.describe import describe, feeding
from ssl_swin.training.learner import Learner
from tests.training.launch import finish, pretrain_config, start
from tests.training.stops import at_step
from tests.training.tiny import built

pytestmark = pytest.mark.usefixtures("short_timing")


def test_a_description_takes_a_few_steps_and_writes_nothing(
    tmp_path, tiny_shards, capsys, monkeypatch
):
    config = pretrain_config(tmp_path / "run", tiny_shards([30, 20]))
    taken, take = [], Learner.training_step

    def counted(self, batch, *given):
        taken.append(len(batch["index"]))
        return take(self, batch, *given)

    monkeypatch.setattr(Learner, "training_step", counted)
    assert describe(built(config)) == 0
    told = capsys.readouterr().out
    assert "data: 50 images in 2 shards" in told
    assert "steps: 0 done, 10 left of 10 (5 epochs of 2, global batch 24: 1 process x up" in told
    assert "quality: features of 50 images, every 5 epochs and at the end" in told
    for line in (
        r"resident at the peak, of [\d.]+ GB \(main memory\)\n",
        r"s a step here, foretold from steps of 1 and \d+ images of the 24 of a process",
        r"same command without --dry-run\n$",
        r"memory: foretold from \d+ images for micro-batches of 24\n",
        r"the device takes \d+ images/s, the loader gives \d+ with 0 worker",
    ):
        assert re.search(line, told), line
    assert taken[0] == 1
    assert len(taken) < 5
    assert not RunFolder(Path(config.run_dir)).root.exists()


@pytest.mark.parametrize(
    ("takes", "gives", "workers", "processes", "said", "unsaid"),
    [
        (800, 900, 8, 1, "gives 900 with 8 worker processes: training will not wait", "give data"),
        (800, 400, 1, 1, "1 worker process: training will wait for data, 50% of its", "cores"),
        (
            800,
            200,
            2,
            1,
            "75% of its time; give data.num_workers=8, which is more",
            "not wait",
        ),
        (800, 3200, 0, 1, "0 worker processes: training will wait for data, 20%", "not wait"),
        (96, 3200, 0, 1, "training will hardly wait for data, 3% of its time", "give data"),
        (900, 300, 1, 4, "the 4 devices take 900 images/s, their loaders give 300 with 1", "not"),
    ],
)
def test_what_the_device_takes_is_held_against_what_the_loader_gives(
    monkeypatch, takes, gives, workers, processes, said, unsaid
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4))
    told = feeding(takes, gives, workers, processes)
    assert said in told
    assert unsaid not in told
    assert "\n" not in told


def dry(output, rank):
    """Let this process describe the run, quickly, and write what it says to a file."""
    os.dup2(os.open(f"{output}-{rank}", os.O_CREAT | os.O_WRONLY), 1)
    describe_module.STEPS_S = describe_module.LOADER_S = 0.01
    life.run = partial(life.run, dry_run=True)


def dry_and_too_small(output, rank):
    dry(output, rank)
    if rank == 1:
        at_step(1, fail)


def fail():
    raise torch.OutOfMemoryError("CUDA out of memory.")


def test_several_processes_take_the_same_steps_and_add_up_their_loaders(tmp_path, tiny_shards):
    config = pretrain_config(tmp_path / "run", tiny_shards([60, 43]), devices=2)
    output = tmp_path / "said"
    assert finish(start(config, prepare=partial(dry, output))) == {0}
    told = Path(f"{output}-0").read_text()
    assert re.search(r"the 2 devices take \d+ images/s, their loaders give \d+ with 0", told)
    assert "2 processes x up to 12 images" in told
    assert "images/s" not in Path(f"{output}-1").read_text()
    assert not Path(config.run_dir).exists()
    # one of them has too little memory
    assert 0 not in finish(start(config, prepare=partial(dry_and_too_small, output)))
