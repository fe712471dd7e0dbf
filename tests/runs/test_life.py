import json
import os
import signal
import time
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import torch

from ssl_swin import signals
from ssl_swin.errors import UserError
from ssl_swin.pretrained.card import read_encoder
from ssl_swin.pretrained.classifier import open_classifier
from ssl_swin.record.lines import read_lines
from ssl_swin.record.owner import Ownership
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import read_summary
from ssl_swin.runs.life import between_steps, train
from ssl_swin.training.life_record import LifeRecord
from ssl_swin.training.preemption import Meeting
from tests.training import stops
from tests.training.launch import finetune_config, finish, pretrain_config, start
from tests.training.tiny import built

COUNTED = ["Ledger", "BadSamples", "BadSteps", "Scalars", "Norms"]
OF_PRETRAINING = {"Monitors", "Panels", "BiasTables", "Projector"}
LOOKED_AT = ["Monitors", "Measurement", "Panels", "BiasTables", "Projector"]
ALL = [*COUNTED, *LOOKED_AT, "Checkpoints"]
AFTER = ["ProgressBar", "DataWait", "Clock"]


@pytest.fixture(autouse=True)
def handlers():
    """What a command does before it trains, and what it leaves behind in this process."""
    watched = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before, num_threads = {n: signal.getsignal(n) for n in watched}, torch.get_num_threads()
    yield
    signals.forget()
    torch.set_num_threads(num_threads)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def config(tmp_path, tiny_shards):
    """Two steps an epoch, for one epoch."""
    found = pretrain_config(tmp_path / "run", tiny_shards([30, 20]), checkpoint_every_steps=0)
    return replace(found, optim=replace(found.optim, epochs=1, warmup_epochs=0))


def reasons(config):
    lines = read_lines(RunFolder(Path(config.run_dir)).ends)
    return [(line["reason"], line["status"], line["step"]) for line in lines]


@pytest.mark.parametrize(
    ("configure", "left_out"), [(pretrain_config, set()), (finetune_config, OF_PRETRAINING)]
)
def test_a_checkpoint_comes_after_all_that_belongs_to_the_step(
    tmp_path, tiny_shards, configure, left_out
):
    config = configure(tmp_path / "run", tiny_shards([30, 20], mode="RGB"))
    for ledger in (True, False):
        run = built(replace(config, training=replace(config.training, ledger=ledger)))
        meeting = Meeting(run.sizes.stop_step, 0.0, timedelta(minutes=1))
        folder = run.start.folder
        record = LifeRecord(folder, 1, Ownership(folder.owner), lambda: None)
        names = [type(one).__name__ for one in between_steps(run, meeting, record)]
        left = left_out | (set() if ledger else {"Ledger"})
        assert names == [name for name in ALL if name not in left] + AFTER


@pytest.mark.parametrize(
    ("phase", "dry_run", "how"),
    [
        ("opening shards", True, signal.SIGINT),
        ("looking at labels", False, signal.SIGTERM),
        ("building the network", False, signal.SIGINT),
        ("a few small steps", True, signal.SIGTERM),
        ("timing the loader", True, signal.SIGTERM),
        ("setting up", False, signal.SIGTERM),
    ],
)
def test_a_signal_is_heard_at_once_in_every_phase_before_the_first_step(
    tmp_path, tiny_shards, phase, dry_run, how
):
    config = finetune_config(tmp_path / "run", tiny_shards([30, 20], mode="RGB"))
    marker = tmp_path / "here"
    (process,) = start(config, prepare=partial(stops.stall_in_phase, phase, marker, dry_run))
    while not marker.exists():
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, how)
    assert finish([process]) == {75}
    assert not (tmp_path / "run").exists()


def test_a_run_has_ten_points_however_short_it_is(config):
    config = replace(config, optim=replace(config.optim, epochs=6))  # of two steps
    config = replace(config, training=replace(config.training, log_every_steps=1000))
    train(built(config))
    points = read_lines(RunFolder(Path(config.run_dir)).metrics)
    assert [point["step"] for point in points if "train/loss" in point] == [*range(1, 13)]


def test_a_run_is_trained_once(config, capsys):
    assert train(built(config)) == 0
    assert reasons(config) == [("finished", 0, 2)]
    folder = RunFolder(Path(config.run_dir))
    assert folder.encoder.is_file()
    assert read_summary(folder).step == 2
    assert train(built(config)) == 0
    assert f"{folder.root} is finished" in capsys.readouterr().out
    assert reasons(config) == [("finished", 0, 2)]


def test_what_a_life_could_not_leave_after_its_last_checkpoint_the_next_one_leaves(config):
    train(built(config))
    folder = RunFolder(Path(config.run_dir))
    before = read_encoder(folder.encoder).state
    folder.encoder.unlink()
    folder.summary.unlink()
    assert train(built(config)) == 0
    after = read_encoder(folder.encoder).state
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert read_summary(folder).step == 2


def test_a_finished_run_of_an_earlier_release_gets_its_classifier(tmp_path, tiny_shards, capsys):
    config = finetune_config(tmp_path / "run", tiny_shards([30, 20], mode="RGB"))
    config = replace(config, optim=replace(config.optim, epochs=1, warmup_epochs=0))
    train(built(config))
    folder = RunFolder(Path(config.run_dir))
    before = open_classifier(folder.root)
    assert json.loads(folder.classes.read_text()) == [*"0123456789"]
    folder.classifier.unlink()
    folder.classes.unlink()
    assert train(built(config)) == 0
    assert (
        f"{folder.classifier} was missing or cut off, and is written anew"
        in capsys.readouterr().out
    )
    after = open_classifier(folder.root)
    assert after.card == before.card
    state = after.classifier.state_dict()
    assert all(torch.equal(value, state[n]) for n, value in before.classifier.state_dict().items())
    assert folder.classes.is_file()
    assert train(built(config)) == 0
    assert "is new" not in capsys.readouterr().out


def test_a_life_that_is_asked_to_stop_saves_and_wants_to_be_started_again(config, capsys):
    run = built(config)  # a signal while indexes are made ends a life before it
    signals.watch()
    os.kill(os.getpid(), signal.SIGUSR1)
    assert train(run) == 75
    assert "stopped after step 1" in capsys.readouterr().out
    signals.forget()
    run = built(config)
    assert run.module.step == 1
    assert train(run) == 0
    assert reasons(config) == [("signal SIGUSR1", 75, 1), ("finished", 0, 2)]


def test_an_error_ends_a_life_with_its_first_line_on_record(config, tiny_shards):
    broken = tiny_shards([30, 20], broken=range(20))
    config = replace(config, data=replace(config.data, shards=str(broken), val_shards=None))
    with pytest.raises(UserError, match="could not be decoded"):
        train(built(config))
    ((reason, status, _),) = reasons(config)
    assert reason.startswith("UserError: ")
    assert "\n" not in reason
    assert status == 2
    assert read_summary(RunFolder(Path(config.run_dir))) is None


def test_an_error_on_one_rank_ends_the_ranks_that_wait_for_it(tmp_path, tiny_shards):
    config = pretrain_config(tmp_path / "run", tiny_shards([60, 43, 100]), devices=3)
    assert finish(start(config, prepare=stops.fail_in_step_3)) == {1}
    first, *others = read_lines(RunFolder(Path(config.run_dir)).ends)
    assert (first["reason"], first["status"]) == (
        "rank 1: OSError: [Errno 121] Remote I/O error",
        1,
    )
    assert len(others) == 2
