import os

import pytest

from ssl_swin.cluster.queue import JobState, list_partitions, look_up, without_nodes
from tests.cluster.bin import write_programs


@pytest.fixture(autouse=True)
def slurm(monkeypatch, tmp_path):
    """SLURM's commands replaced: job 12 runs, 13 is completed, 14 waits, 15 was cancelled."""
    monkeypatch.setenv("PATH", f"{write_programs(tmp_path / 'bin')}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("job", "found", "alive"),
    [
        ("12", JobState("RUNNING", "n[1-2]", "1:00:00"), True),
        ("13", JobState("COMPLETED", "n1"), False),
        ("14", JobState("PENDING", "", "1:00:00", "Resources"), True),
        ("15", JobState("CANCELLED", "n3"), False),
    ],
)
def test_a_job_is_looked_up_where_it_is_still_known(job, found, alive):
    assert look_up(job) == found
    assert found.alive == alive


def test_a_job_nobody_knows_is_none(monkeypatch, tmp_path):
    assert look_up("99") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert look_up("12") is None  # no SLURM here


def test_a_job_does_without_a_node_if_enough_are_left(monkeypatch, tmp_path):
    assert without_nodes("16", "n1") == "n1,n8,n9"
    assert without_nodes("16", "n1", frozenset({"n9"})) == "n1,n8"
    assert without_nodes("16", None, frozenset({"n8", "n9"})) == ""
    assert without_nodes("16", None, frozenset({"n2"})) is None  # which it may use
    assert without_nodes("17", "n1") is None  # its user wants that very node
    assert without_nodes("18", "n1") is None  # it needs all four
    monkeypatch.setenv("PATH", str(tmp_path))
    assert without_nodes("16", "n1") is None  # no SLURM here


def test_partitions_are_listed_a_line_each(monkeypatch, tmp_path):
    first, second = list_partitions().splitlines()
    assert first.split("|")[0] == "cpus*"
    assert second.split("|")[1].startswith("gpu:a100")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list_partitions() == ""  # no SLURM here
