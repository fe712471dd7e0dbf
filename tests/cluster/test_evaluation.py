import json
import os
import shutil
from pathlib import Path

import pytest

from ssl_swin.__main__ import run
from ssl_swin.data.open import open_shards
from ssl_swin.record.lines import append_line, write_text
from tests.cluster.bin import write_programs
from tests.conftest import TINY_MODEL

ROOT = Path(__file__).parents[2]
SAMPLE = "data/fashion-mnist-sample"
TRAIN, TEST = f"{SAMPLE}/train-000000.tar", f"{SAMPLE}/test-000000.tar"
SETS = ("--data", TRAIN, "--test", TEST)
PRETRAIN = ("pretrain", "configs/pretrain/demo.yaml", *TINY_MODEL)
FINETUNE = ("finetune", "configs/finetune/demo.yaml", *TINY_MODEL)


@pytest.fixture(autouse=True)
def at_home(monkeypatch, tmp_path):
    """In the checkout, with SLURM's commands replaced: job 12 runs, the first that is queued is 7.

    What may be cached is in a folder of its own.
    """
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{write_programs(tmp_path / 'bin')}:{os.environ['PATH']}")


@pytest.fixture
def asked(tmp_path):
    """Return the words that sbatch was called with, but for `--parsable`."""
    lines = tmp_path / "bin/asked"
    return lambda: [json.loads(line)["words"][1:] for line in lines.read_text().splitlines()]


def submit(*words):
    return run(["submit", *map(str, words)])


def script(folder, name="frozen-fashion-mnist-sample"):
    return (folder / "evaluation" / name / "evaluate.sbatch").read_text().splitlines()


def test_an_evaluation_is_queued_beside_its_run(trained, capsys, asked):
    _, folder = trained
    assert submit("evaluate", folder, "random", *SETS, "--time", "1:00:00") == 0
    told = capsys.readouterr().out
    out = folder / "evaluation/frozen-fashion-mnist-sample"
    for text in ("labelled images, test: ", "10 classes", f"{folder}: ", "random: random"):
        assert text in told
    assert all(text in told for text in ("job 7", f"found:  {out}", "scancel 7", "1 process"))
    lines = script(folder)
    words = f"settings=({folder} random --data {TRAIN} --test {TEST})"
    assert {words, f"run={out}", "#SBATCH --gpus-per-node=1", "#SBATCH --time=1:00:00"} <= {*lines}
    assert asked() == [[str(out / "evaluate.sbatch")]]
    (line,) = (out / "jobs.jsonl").read_text().splitlines()
    assert (json.loads(line)["job"], json.loads(line)["kind"]) == ("7", "evaluate")
    assert json.loads(line)["log"] == f"{out}/slurm-7.out"


def test_a_dry_run_writes_nothing_and_says_what_it_did_not_ask(trained, tmp_path, capsys):
    _, folder = trained
    before = sorted(folder.rglob("*"))
    words = ("timm:test_vit", folder, *SETS, "-o", tmp_path / "out", "--dry-run")
    assert submit("evaluate", *words) == 0
    told = capsys.readouterr().out
    assert "not checked: whether timm's weights for timm:test_vit can be had" in told
    assert "#!/bin/bash" in told
    assert f"run={tmp_path}/out" in told.splitlines()
    assert sorted(folder.rglob("*")) == before
    assert not (tmp_path / "out").exists()


def test_it_follows_a_pretraining_and_is_of_its_run(tmp_path, asked, capsys):
    folder = tmp_path / "p"
    layout = ("--nodes", "2", "--gpus-per-node", "8", "--partition", "big")
    chain = ("--then", "evaluate", "random", *SETS)
    assert submit(*PRETRAIN, "--run-dir", folder, *layout, *chain) == 0
    assert f"{folder}, which a step before makes" in capsys.readouterr().out
    lines = script(folder)
    assert f"settings=({folder} random --data {TRAIN} --test {TEST})" in lines
    wanted = {"--nodes=1", "--gpus-per-node=1", "--ntasks-per-node=1", "--partition=big"}
    assert {f"#SBATCH {one}" for one in wanted} <= {*lines}
    _, later = asked()
    assert later[:2] == ["--dependency=afterok:7", "--kill-on-invalid-dep=yes"]


def test_nothing_waits_for_an_evaluation(tmp_path, asked):
    first, last = tmp_path / "p", tmp_path / "f"
    chain = (*PRETRAIN, "--run-dir", first, "--then", "evaluate", *SETS, "--then", *FINETUNE)
    assert submit(*chain, "--run-dir", last, "--then", "evaluate", "--data", TEST) == 0
    waits = [words[0] for words in asked()]
    assert waits[1:] == [f"--dependency=afterok:{job}" for job in (7, 7, 9)]
    assert f"settings=({first} --data {TRAIN} --test {TEST})" in script(first)
    assert f"settings=({last} --data {TEST})" in script(last, "fashion-mnist-sample")
    assert f"--encoder {first}" in (last / "finetune.sbatch").read_text()


def test_a_chain_may_say_itself_which_of_its_runs_is_meant(tmp_path):
    first, last = tmp_path / "p", tmp_path / "f"
    chain = (*PRETRAIN, "--run-dir", first, "--then", *FINETUNE, "--run-dir", last)
    assert submit(*chain, "--then", "evaluate", f"random:{first}", first, *SETS) == 0
    settings = f"settings=(random:{first} {first} --data {TRAIN} --test {TEST})"
    assert settings in script(first)


@pytest.mark.parametrize(
    ("words", "nodes", "gpus", "tasks"),
    [
        (("--training.accelerator", "cpu", "--then", "evaluate"), 1, None, 1),
        (("--gpus-per-node", "0", "--then", "evaluate"), 1, None, 1),
        (("--then", "evaluate", "--device=cpu", "--tasks-per-node", "3"), 1, None, 3),
        (("--then", "evaluate", "--gpus-per-node", "4", "--nodes", "2"), 2, 4, 4),
    ],
)
def test_it_takes_what_it_is_given(tmp_path, words, nodes, gpus, tasks):
    folder = tmp_path / "p"
    assert submit(*PRETRAIN, "--run-dir", folder, *words, *SETS) == 0
    lines = script(folder)
    assert [one for one in lines if "SBATCH --gpus" in one] == (
        [f"#SBATCH --gpus-per-node={gpus}"] if gpus else []
    )
    assert {f"#SBATCH --nodes={nodes}", f"#SBATCH --ntasks-per-node={tasks}"} <= {*lines}


def test_a_run_without_weights_whose_job_lives_is_waited_for(tmp_path, asked, capsys):
    folder = tmp_path / "p"
    append_line(folder / "jobs.jsonl", {"job": "12", "kind": "pretrain"})
    assert submit("evaluate", folder, *SETS) == 0
    assert "which job 12 makes, that is RUNNING: it is waited for" in capsys.readouterr().out
    assert asked()[0][0] == "--dependency=afterok:12"
    assert f"run={folder}/evaluation/frozen-fashion-mnist-sample" in script(folder)


def test_of_a_run_that_goes_on_the_last_checkpoint_is_measured(trained, asked):
    _, folder = trained
    for name in ("summary.json", "encoder.safetensors"):
        (folder / name).unlink()
    append_line(folder / "jobs.jsonl", {"job": "12", "kind": "pretrain"})
    assert submit("evaluate", folder, *SETS) == 0
    assert not asked()[0][0].startswith("--dependency")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere", *SETS), "nowhere"),
        (SETS, "nothing is named that could be evaluated"),
        (("RUN", "--data", "nowhere", "--test", TEST), "nowhere"),
        (("RUN", "--data", TRAIN, "--test", "BARE"), "ssl-swin shards index"),
        (("RUN", "--test", TEST), "data"),
        (("RUN", *SETS, "--measures", "nkn"), "measures=nkn is unknown; did you mean knn?"),
        (("RUN", *SETS, "--layer", "stage9"), "layer=stage9 is none of this network"),
        (("RUN", "timm:test_vti", *SETS), "none of timm's"),
        (("RUN", *SETS, "--devices", "2"), "srun starts the processes of a job"),
        (("RUN", *SETS, "--array", "seed=0,1"), "an evaluation has none"),
        (("RUN", *SETS, "--nodes", "many"), "give a number, or MIN-MAX"),
        (("RUN", *SETS, "--batch-sise", "2"), "did you mean --batch-size?"),
        (("RUN", *SETS, "--time", "2", "--warning", "90"), "a life would hardly train"),
        (("RUN", *SETS, "-o", "a%b"), "output a%b holds a character"),
        (("RUN", *SETS, "-o", "pyproject.toml/x"), "cannot be written to"),
        (("RUN", *SETS, "-o", "OTHER"), "holds an evaluation of other images"),
        (("RUN", *SETS, "-o", "ASKED"), "holds an evaluation with layer=stage1"),
        (("RUN", *SETS, "-o", "TAKEN"), "belongs to job 12, which is RUNNING"),
        (("RUN", "--data", TEST), "knows no classes"),
        (("SOON", "--data", TEST, "--tasks-per-node=2"), "by one process, and these are 2"),
    ],
)
def test_what_would_fail_in_the_job_is_refused(trained, tmp_path, capsys, words, said):
    shutil.copytree(SAMPLE, tmp_path / "BARE", ignore=shutil.ignore_patterns("*index*", "train*"))
    shutil.move(trained[1], tmp_path / "RUN")
    earlier = {"kind": "frozen", "test": {"fingerprint": "another"}}
    (tmp_path / "OTHER").mkdir()
    write_text(tmp_path / "OTHER/summary.json", json.dumps(earlier))
    asked = {"kind": "frozen", "test": {"fingerprint": open_shards(TEST).fingerprint()}}
    (tmp_path / "ASKED").mkdir()
    write_text(tmp_path / "ASKED/summary.json", json.dumps(asked | {"layer": "stage1"}))
    for name in ("TAKEN", "SOON"):
        append_line(tmp_path / name / "jobs.jsonl", {"job": "12"})
    before = sorted(tmp_path.rglob("*"))
    places = {"RUN", "BARE", "OTHER", "ASKED", "TAKEN", "SOON"}
    words = [tmp_path / word if word in places else word for word in words]
    assert submit("evaluate", *words, "--gpus-per-node=0") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error
    assert sorted(tmp_path.rglob("*")) == before


def test_a_pretraining_in_the_chain_knows_no_classes(tmp_path, capsys):
    chain = (*PRETRAIN, "--run-dir", tmp_path / "p", "--then", "evaluate", "--data", TEST)
    assert submit(*chain) == 2
    assert "becomes an encoder, which knows no classes: give --test" in capsys.readouterr().err
