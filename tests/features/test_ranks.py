import itertools
import os
from types import SimpleNamespace

import pytest

from ssl_swin.errors import MachineError
from ssl_swin.features import ranks
from ssl_swin.features.ranks import Beats, Ranks
from ssl_swin.launcher import STARTED_BY

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "x",
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
}
OURS = {STARTED_BY: str(os.getppid()), "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}
SRUN = {
    "SLURM_NTASKS": "8",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Ranks()),
        (TORCHRUN, Ranks(3, 4, 1, 2)),
        (OURS, Ranks(1, 2, 1, 2)),
        (SRUN, Ranks(2, 4, 0, 1)),
        ({name: value for name, value in SRUN.items() if name != "SLURM_STEP_ID"}, Ranks()),
    ],
)
def test_who_this_process_is(environment, expected):
    assert Ranks.of(environment) == expected


def test_cores_are_shared_out_and_never_none():
    assert Ranks(0, 2, 0, 1000).cores == 1
    assert Ranks().cores >= 1


def test_a_wait_ends_when_it_is_done(tmp_path):
    answers = iter([False, False, True])
    with Beats(tmp_path, Ranks(0, 2)).beating() as beats:
        assert (tmp_path / "rank-0").exists()
        (tmp_path / "rank-1").touch()
        beats.wait(lambda: next(answers), lambda: {1})


def test_a_process_that_was_heard_and_is_no_more_has_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(ranks, "SILENT_S", -1.0)
    with Beats(tmp_path, Ranks(0, 2)).beating() as beats:
        (tmp_path / "rank-1").touch()
        with pytest.raises(MachineError, match=r"process 1 has gone, .* the same command goes on"):
            beats.wait(lambda: False, lambda: {1})


@pytest.mark.parametrize("left_over", [False, True])
def test_a_process_that_never_began_is_named_and_so_is_the_cache(tmp_path, monkeypatch, left_over):
    monkeypatch.setattr(ranks, "LATE_S", -1.0)
    if left_over:  # of an earlier life
        (tmp_path / "rank-1").touch()
        os.utime(tmp_path / "rank-1", (1, 1))
    with Beats(tmp_path, Ranks(0, 2)).beating() as beats:  # noqa: SIM117
        with pytest.raises(MachineError, match=r"process 1 has not begun .* --cache-dir"):
            beats.wait(lambda: False, lambda: {1})


def test_who_was_suspended_asks_the_others_anew(tmp_path, monkeypatch):
    clock = itertools.count(0, 1000.0)  # seconds from one look to the next
    monkeypatch.setattr(ranks, "time", SimpleNamespace(monotonic=clock.__next__, sleep=lambda _: 0))
    looks = iter([False] * 20 + [True])
    with Beats(tmp_path, Ranks(0, 2)).beating() as beats:
        (tmp_path / "rank-1").touch()
        beats.wait(lambda: next(looks), lambda: {1})
        with pytest.raises(MachineError, match="process 1 has gone"):  # as it stays silent
            beats.wait(lambda: False, lambda: {1})


def test_one_process_alone_leaves_nothing(tmp_path):
    with Beats(tmp_path, Ranks()).beating():
        assert not list(tmp_path.iterdir())
