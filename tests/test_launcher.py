import os

import pytest

from ssl_swin import launcher
from ssl_swin.launcher import SAID, STARTED_BY, is_rank_0, num_cores, says_first


@pytest.mark.parametrize(
    ("variables", "cores"),
    [
        ({}, (4, 4)),
        ({"SLURM_CPUS_ON_NODE": "64"}, (4, 64)),
        ({"SLURM_CPUS_ON_NODE": "64", "TORCHELASTIC_RUN_ID": "x"}, (4, 16)),
        ({"SLURM_CPUS_ON_NODE": "64", STARTED_BY: str(os.getppid())}, (4, 16)),
    ],
)
def test_the_cores_of_a_node_are_those_that_the_launcher_has(monkeypatch, variables, cores):
    known = {0: set(range(4)), os.getppid(): set(range(16))}
    monkeypatch.setattr(os, "sched_getaffinity", known.get)
    assert num_cores(variables) == cores


def test_a_launcher_that_is_gone_has_none(monkeypatch):
    monkeypatch.setattr(launcher.os, "getppid", lambda: 2**22 + 1)
    mine = len(os.sched_getaffinity(0))
    assert num_cores({"TORCHELASTIC_RUN_ID": "x"}) == (mine, mine)


@pytest.mark.parametrize(
    ("variables", "is_first"),
    [
        ({}, True),
        ({"RANK": "4", "LOCAL_RANK": "0"}, False),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"SLURM_PROCID": "3"}, False),
    ],
)
def test_the_first_of_a_run_is_known_before_there_is_a_trainer(variables, is_first):
    assert is_rank_0(variables) is is_first


def test_a_line_is_said_by_the_first_of_several_processes(monkeypatch, tmp_path):
    assert says_first("a")
    assert says_first("a")  # by a process alone
    monkeypatch.setenv(SAID, str(tmp_path))
    monkeypatch.setenv(STARTED_BY, str(os.getppid()))
    assert says_first("a")
    assert not says_first("a")
    assert says_first("b")
    monkeypatch.setenv(SAID, str(tmp_path / "gone"))
    assert says_first("a")
