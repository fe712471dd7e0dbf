import os
from pathlib import Path

import pytest

from ssl_swin.__main__ import run
from ssl_swin.cluster.sbatch import clean
from tests.cluster.bin import write_programs

ROOT = Path(__file__).parents[2]
AWAY = (
    "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect "
    "failure)"
)
ELSEWHERE = (
    "sbatch: error: _establish_config_source: failed to fetch config\n"
    "sbatch: fatal: Could not establish a configuration source"
)
WRONG = (
    "sbatch: error: invalid partition specified: x\n"
    "sbatch: error: Batch job submission failed: Invalid partition name specified"
)


@pytest.fixture
def submit(monkeypatch, tmp_path, capsys):
    """Submits a run to the stand-in for SLURM, which says a text; returns status and words."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{write_programs(tmp_path / 'bin')}:{os.environ['PATH']}")

    def submit(*words, said=""):
        if said:
            monkeypatch.setenv("REFUSE", said)
        arguments = ["submit", "pretrain", "demo", f"--run-dir={tmp_path / 'run'}", *words]
        return run(arguments), *capsys.readouterr()

    return submit


def test_what_sbatch_says_is_told(submit, tmp_path):
    status, _, error = submit(said=WRONG)
    assert status == 2
    assert error == (
        f"error: sbatch refused {tmp_path / 'run/pretrain.sbatch'}: invalid partition specified: "
        "x; Batch job submission failed: Invalid partition name specified\n"
    )


@pytest.mark.parametrize(
    ("said", "plainly"),
    [
        (
            AWAY,
            "Batch job submission failed: Unable to contact slurm controller (connect failure)",
        ),
        (ELSEWHERE, "Could not establish a configuration source"),
    ],
)
def test_a_controller_that_is_away_is_no_mistake_of_the_user(submit, said, plainly):
    status, told, error = submit("--dry-run", said=said)
    assert (status, error) == (0, "")
    assert f"not checked: SLURM did not say when the job would start ({plainly})" in told
    assert "error" not in told.partition("#!/bin/bash")[0]
    status, _, error = submit()
    assert status == 1
    assert error == f"error: SLURM does not answer: {plainly}; give the command again later\n"


def test_a_dry_run_of_what_slurm_would_refuse_ends_as_a_mistake_after_all_it_prints(submit):
    status, told, error = submit("--dry-run", said=WRONG)
    assert status == 2
    assert error.startswith("error: SLURM would refuse it today: invalid partition specified: x; ")
    assert "#!/bin/bash" in told


def test_without_sbatch_it_says_so(submit, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    status, told, error = submit()
    assert status == 2
    assert "not checked: there is no sbatch here, to say when the job would start" in told
    assert "there is no sbatch here: submit on a login node" in error
    assert submit("--dry-run")[0] == 0


def test_what_belongs_to_nobody_is_handed_on():
    environment = {"PATH": "x", "MASTER_PLAN": "y", "NCCL_DEBUG": "INFO", "MY_RANK": "z"}
    assert clean(environment) == (environment, [])
