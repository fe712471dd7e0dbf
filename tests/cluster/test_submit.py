import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from ssl_swin.__main__ import run
from ssl_swin.cluster.options import Options
from ssl_swin.data.shards.indexing import index_shards
from ssl_swin.record.lines import append_line
from tests.cluster.bin import write_programs
from tests.conftest import TINY_MODEL
from tests.data.remote.faulty import serving
from tests.data.shards.tars import image_bytes, write_tar

ROOT = Path(__file__).parents[2]
PRETRAIN = "configs/pretrain/demo.yaml"
FINETUNE = "configs/finetune/demo.yaml"


@pytest.fixture(autouse=True)
def at_home(monkeypatch, tmp_path):
    """In the checkout, as a user without a file of defaults, with SLURM's commands replaced."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{write_programs(tmp_path / 'bin')}:{os.environ['PATH']}")


@pytest.fixture
def asked(tmp_path):
    """Return what sbatch was called with, and its variables."""
    return lambda: [json.loads(line) for line in (tmp_path / "bin/asked").read_text().splitlines()]


def submit(*words):
    return run(["submit", *map(str, words)])


@pytest.fixture
def refused(capsys, tmp_path):
    """Submit what must be refused: one line, nothing written, nothing queued."""

    def check(*words):
        before = sorted(tmp_path.rglob("*"))
        assert submit(*words) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before
        return error

    return check


def test_a_job_is_queued_and_its_script_kept(tmp_path, capsys, asked):
    folder = tmp_path / "my run"
    words = ("--run_dir", folder, "--optim.base_lr=1e-4", "--nodes", "2")
    assert submit("pretrain", PRETRAIN, *words) == 0
    told = capsys.readouterr().out
    assert all(text in told for text in ("job 7", "slurm-7.out", "scancel 7", "ssl-swin status"))
    script = (folder / "pretrain.sbatch").read_text()
    assert f"#SBATCH --output='{folder}/slurm-%j.out'" in script
    assert script.count("--run-dir") == 1
    assert "settings=(--optim.base-lr=1e-4)" in script
    assert asked()[0]["words"] == ["--parsable", str(folder / "pretrain.sbatch")]
    (line,) = (folder / "jobs.jsonl").read_text().splitlines()
    assert json.loads(line)["job"] == "7"


def test_shards_from_afar_are_kept_on_the_nodes(tmp_path, capsys):
    with serving(Path("data/fashion-mnist-sample")) as server:
        shards = ("--data.shards", f"{server.url}/test-{{000000..000001}}.tar")
        words = ("--run-dir", tmp_path / "run", "--data.val-shards", "null", *shards, "--dry-run")
        assert submit("pretrain", PRETRAIN, *words) == 0
        assert '--data.cache-dir "$node_cache/shards"' in capsys.readouterr().out
        assert submit("pretrain", PRETRAIN, *words, "--data.cache-dir", tmp_path) == 0
        assert "$node_cache/shards" not in capsys.readouterr().out


def test_a_dry_run_prints_checks_and_script_and_writes_nothing(tmp_path, capsys):
    folder = tmp_path / "run"
    words = ["--run-dir", folder, "--images-per-s", "1000", "--time", "1:00:00", "--dry-run"]
    assert submit("pretrain", PRETRAIN, *words) == 0
    told = capsys.readouterr().out
    assert "10,000 images" in told
    assert "2,808 steps, 2,808 of them to do, about 0.0 h at 1,000 images/s (stated)" in told
    assert "3 checkpoints of" in told
    assert "each node: " in told
    assert "with a failure every 3 h (--mtbf-h) the best interval is " in told
    assert "Job 7 to start at noon" in told
    assert "#!/bin/bash" in told
    assert not folder.exists()


def test_variables_of_another_job_are_dropped(tmp_path, asked, capsys, monkeypatch):
    for name in ("SLURM_NTASKS", "SBATCH_PARTITION", "MASTER_ADDR", "RANK"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("SLURM_CONF", "kept")
    assert submit("pretrain", PRETRAIN, "--run-dir", tmp_path / "run") == 0
    variables = asked()[0]["variables"]
    assert variables["SLURM_CONF"] == "kept"
    assert not {"SLURM_NTASKS", "SBATCH_PARTITION", "MASTER_ADDR", "RANK"} & set(variables)
    assert "4 variables of another job are not handed on: " in capsys.readouterr().out


def test_a_chain_waits_for_success_and_hands_the_encoder_over(tmp_path, asked):
    first, second = tmp_path / "a", tmp_path / "b"
    chain = ("pretrain", PRETRAIN, "--run-dir", first, "--then", "finetune", FINETUNE)
    assert submit(*chain, "--run-dir", second) == 0
    _, later = asked()
    assert later["words"][1:3] == ["--dependency=afterok:7", "--kill-on-invalid-dep=yes"]
    assert f"--encoder {first}" in (second / "finetune.sbatch").read_text()


def test_a_sweep_has_a_run_folder_for_each_combination(tmp_path):
    sweep = ("--array", "seed=0,1", "--array", "optim.base-lr=0.1,0.2")
    assert submit("pretrain", PRETRAIN, "--run-dir", tmp_path / "s", *sweep) == 0
    folders = sorted(path.parent.name for path in (tmp_path / "s").glob("*/jobs.jsonl"))
    assert folders == [f"seed={s}_optim.base_lr={lr}" for s in (0, 1) for lr in (0.1, 0.2)]
    assert "--array=0-3" in (tmp_path / "s/pretrain.sbatch").read_text()
    (line,) = (tmp_path / "s" / folders[2] / "jobs.jsonl").read_text().splitlines()
    assert json.loads(line)["job"] == "7_2"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--optim.epoch", "3"], "did you mean --optim.epochs?"),
        (["--data.shards", "nowhere"], "nowhere"),
        (["--data.val-shards", "nowhere"], "nowhere"),
        (["--nodes", "2-8", "--gpus-per-node", "8"], "64 processes cannot share"),
        (["--nodes", "many"], "give a number, or MIN-MAX"),
        (["--nodes", "4-2"], "give a number, or MIN-MAX"),
        (["--data.num-lanes", "7"], "does not divide global_batch_size=32"),
        (["--training.global-batch-size", "20000"], "is larger than the data"),
        (["--gpus-per-node", "2", "--tasks-per-node", "3"], "one task each"),
        (["--time", "soon"], "write it as SLURM does"),
        (["--time", "2", "--warning", "90"], "a life would hardly train"),
        (["--warning", "0"], "1 or more"),
        (["--mask.mask-patch-size", "7"], "does not divide img_size"),
        (["--mask.mask-ratio", "0.999"], "leave at least one"),
        (["--model.name", "swin_huge"], "model.name='swin_huge' is not known"),
        (["--progressive", "[{until_epoch: 1, img_size: 17}]"], "progressive[0]: mask_patch_size"),
        (["--progressive", "[{until_epoch: 1, img_size: 16}]"], "every stage has the same windows"),
        (["--progressive", "[{until_epoch: 1, img_size: 64}]"], "progressive[0]: sizes must not"),
        (
            ["--optim.schedule=multistep", "--optim.milestones", "[5,3]"],
            "[5, 3] must be one or more",
        ),
        (["--array", "seed"], "write KEY=VALUE,VALUE"),
        (["--array", "sead=1,2"], "unknown option --sead; did you mean --seed?"),
        (["--array", "seed=1,-2"], "must be 0 or more"),
        (["--resume-from", "no.ckpt"], "no.ckpt cannot be read as a checkpoint: No such file"),
        (["--run-dir", "a%b"], "rename it"),
        (["--run-dir", "pyproject.toml/run"], "cannot be written to"),
    ],
)
def test_what_would_fail_after_hours_in_the_queue_is_refused(refused, tmp_path, words, said):
    assert said in refused("pretrain", PRETRAIN, "--run-dir", tmp_path / "run", *words)


def test_settings_without_effect_are_said(tmp_path, capsys):
    words = ("--run-dir", tmp_path / "run", "--loss-beta", "3", "--dry-run")
    assert submit("pretrain", PRETRAIN, *words) == 0
    told = "warning: without effect, so leave them out: loss_beta=3.0 beside loss l1"
    assert told in capsys.readouterr().out


def test_shards_without_an_index_are_refused(refused, tmp_path):
    shutil.copytree("data/fashion-mnist-sample", tmp_path / "shards")
    for path in (tmp_path / "shards").glob("*index*"):
        path.unlink()
    words = ["--data.shards", tmp_path / "shards", "--run-dir", tmp_path / "run"]
    assert "ssl-swin shards index" in refused("pretrain", PRETRAIN, *words)


def test_what_is_wrong_with_shards_is_said_or_refused_beforehand(refused, tmp_path, capsys):
    for name, classes in (("train", ["a", "b"]), ("val", ["a", "c"])):
        (tmp_path / name).mkdir()
        image = image_bytes(0)
        files = {"png": image, "seg.png": image, "cls": b"1"}
        members = [(f"{i}.{kind}", files[kind]) for i in range(40) for kind in files]
        index_shards([write_tar(tmp_path / name / "x.tar", members)])
        (tmp_path / name / "classes.json").write_text(json.dumps(classes))
    shards = ["--data.shards", tmp_path / "train", "--data.num-labels", "null"]
    words = [*shards, "--run-dir", tmp_path / "run", "--data.val-shards"]
    said = refused("finetune", FINETUNE, *words, tmp_path / "val")
    assert "other classes: 'b' only in " in said
    assert "'c' only in " in said
    assert submit("finetune", FINETUNE, *words, "null", "--dry-run") == 0
    said = capsys.readouterr().out
    assert f"left out of {tmp_path}/train: 40 images beside the plainly named one" in said
    assert f"num_classes=10, and {tmp_path}/train names 2 classes" in said


def test_an_encoder_that_is_not_there_is_refused(refused, tmp_path):
    words = ["finetune", FINETUNE, "--run-dir", tmp_path / "run", "--encoder"]
    assert "no such run folder" in refused(*words, "nowhere")
    assert "no encoder.safetensors yet" in refused(*words, tmp_path)


def test_a_disk_that_is_too_small_is_refused(refused, tmp_path):
    words = ["--model.embed-dim", 3 * 2**18, "--run-dir", tmp_path / "run"]
    assert "the disk is too small" in refused("pretrain", PRETRAIN, *words)


def test_two_steps_in_one_folder_are_refused(refused, tmp_path):
    words = ["--run-dir", tmp_path / "run"]
    chain = ["pretrain", PRETRAIN, *words, "--then", "finetune", FINETUNE, *words]
    assert "two of the runs have the same run_dir" in refused(*chain)


def test_a_run_folder_in_a_jobs_hands_is_refused(refused, tmp_path):
    folder = tmp_path / "run"
    append_line(folder / "jobs.jsonl", {"job": "12"})
    said = refused("pretrain", PRETRAIN, "--run-dir", folder)
    assert "belongs to job 12, which is RUNNING" in said
    append_line(folder / "jobs.jsonl", {"job": "13"})  # COMPLETED
    (folder / "owner.json").write_text('{\n  "job": 12, "host": "n1"\n}\n')
    assert "belongs to job 12" in refused("pretrain", PRETRAIN, "--run-dir", folder)


def test_a_run_folder_that_no_job_holds_any_more_goes_on(tmp_path):
    append_line(tmp_path / "run/jobs.jsonl", {"job": "13"})  # COMPLETED
    append_line(tmp_path / "run/jobs.jsonl", {"job": "99"})  # unknown
    assert submit("pretrain", PRETRAIN, "--run-dir", tmp_path / "run") == 0


def test_another_run_in_the_folder_is_refused(refused, trained):
    arguments, folder = trained
    assert "is finished" in refused(*arguments, "--run-dir", folder)
    (folder / "summary.json").unlink()
    said = refused(*arguments, "--run-dir", folder, "--optim.base-lr=1")
    assert "holds a run with optim.base_lr=0.064, this config says 1.0" in said
    said = refused("finetune", FINETUNE, "--run-dir", folder)
    assert "holds a pretrain run; give a finetune run another one" in said


def test_a_run_goes_on_with_what_its_folder_tells(trained, capsys):
    arguments, folder = trained
    (folder / "summary.json").unlink()
    assert submit(*arguments, "--run-dir", folder, "--dry-run") == 0
    told = capsys.readouterr().out
    assert "goes on from step 2" in told
    assert "2 steps, 0 of them to do" in told
    assert "the size of the last one" in told


def test_other_shards_than_the_run_has_begun_with_are_refused(refused, trained, tiny_shards):
    arguments, folder = trained
    (folder / "summary.json").unlink()
    other = ["--data.shards", tiny_shards([9, 8]), "--run-dir", folder]
    assert run(["shards", "index", str(other[1])]) == 0
    assert "the training shards changed: num_samples" in refused(*arguments, *other)


def test_what_is_finished_is_left_out(trained, tmp_path, capsys, asked):
    arguments, folder = trained
    sweep = tmp_path / "sweep"
    shutil.copytree(folder, sweep / "seed=0")
    assert submit(*arguments, "--run-dir", sweep, "--array", "seed=0,1") == 0
    assert "seed=0 is finished" in capsys.readouterr().out
    script = (sweep / "pretrain.sbatch").read_text()
    assert "#SBATCH --array=0-0" in script
    assert "seed=0" not in script
    chain = ["--then", "finetune", FINETUNE, "--run-dir", tmp_path / "next", *TINY_MODEL]
    assert submit(*arguments, "--run-dir", folder, *chain) == 0
    assert f"left out: {folder} is finished" in capsys.readouterr().out
    assert f"--encoder {folder}" in (tmp_path / "next/finetune.sbatch").read_text()
    assert not any("dependency" in word for word in asked()[-1]["words"])


def test_the_help_names_every_option(capsys):
    with pytest.raises(SystemExit):
        submit("--help")
    shown = capsys.readouterr().out
    assert all(f"--{one.name.replace('_', '-')}" in shown for one in fields(Options))


def test_a_slip_of_the_pen_is_told_before_anything_heavy_is_imported(tmp_path):
    words = ["submit", "pretrain", PRETRAIN, "--run-dir", str(tmp_path / "run"), "--nodes", "no"]
    command = [sys.executable, "-X", "importtime", "-m", "ssl_swin", *words]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    imported = {line.rpartition("|")[2].strip() for line in answer.stderr.splitlines()}
    assert "ssl_swin.cluster.script" in imported
    assert not imported & {"torch", "pytorch_lightning", "timm", "webdataset"}
