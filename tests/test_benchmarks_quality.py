"""What `benchmarks/quality.py` runs, and what its figures say."""

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ssl_swin.command_line import read_config

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    names = ("quality", "quality_figures", "quality_plan")
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture
def plan(modules, tmp_path):
    def make(name="clothing", more=()):
        task = modules.quality_plan.TASKS[name]
        return modules.quality_plan.Plan(task, tmp_path / "data", tmp_path / "out", 3, more)

    return make


@pytest.mark.parametrize("name", ["clothing", "fashion-mnist"])
def test_each_training_is_a_command_that_parses_with_a_folder_of_its_own(plan, name):
    jobs = list(plan(name, ("--training.num-threads", "1")).jobs())
    trainings = [job for job in jobs if job.words[0] in ("pretrain", "finetune")]
    folders = set()
    for job in trainings:
        config, _ = read_config(job.words[0], list(job.words[1:]))
        assert config.training.num_threads == 1
        folders.add(config.run_dir)
    assert len(folders) == len(trainings)
    assert len({job.done for job in jobs}) == len(jobs)


def test_both_arms_differ_in_start_and_rates_alone(plan):
    words = [job.words for job in plan().jobs() if job.part == "finetune"]
    tuned = [read_config("finetune", list(one[1:]))[0] for one in words if one[0] == "finetune"]
    for scratch, pretrained in zip(tuned[::2], tuned[1::2], strict=True):
        assert scratch.encoder is None
        assert pretrained.encoder is not None
        assert scratch.seed == pretrained.seed
        assert scratch.data == pretrained.data
        assert scratch.optim.epochs == pretrained.optim.epochs
        assert scratch.training == pretrained.training


def test_the_page_says_by_what_the_arms_differ(modules, plan):
    page = " ".join("\n".join(modules.quality.page(plan(), ["DATA"])).split())
    words = [job.words for job in plan().jobs() if job.part == "finetune"]
    tuned = [one for one in words if one[0] == "finetune"]
    for scratch, pretrained in zip(tuned[::2], tuned[1::2], strict=True):
        decays = [one[one.index("--optim.layer-decay") + 1] for one in (scratch, pretrained)]
        assert decays == ["1.0", "0.75"]
    assert "the pretrained one a layer decay of 0.75" in page


def test_encoders_are_pretrained_before_they_are_used(plan):
    made = set()
    for job in plan().jobs():
        if job.words[0] == "pretrain":
            made.add(str(job.done.parent))
        elif "--encoder" in job.words:
            assert job.words[job.words.index("--encoder") + 1] in made


def test_the_interval_over_seeds_is_students(modules):
    low, high = modules.quality_figures.t_interval([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
    assert modules.quality_figures.t_interval([1.0]) is None


def test_the_interval_over_images_is_that_of_a_mean(modules):
    gains = np.repeat([0.0, 100.0], 500)
    low, high = modules.quality_figures.bootstrap_interval(gains)
    half = 1.96 * 50 / 1000**0.5
    assert (low, high) == pytest.approx((50 - half, 50 + half), abs=0.3)


def test_the_page_says_what_is_there_and_what_is_not(modules, plan):
    plan = plan()
    for seed, tops in enumerate([(40, 45), (42, 44), (41, 49)]):
        for arm, top1 in zip(modules.quality_plan.ARMS, tops, strict=True):
            place = plan.tuned("recipe", arm, modules.quality_plan.Drawn(100, seed, 0))
            place.mkdir(parents=True)
            (place / "summary.json").write_text(json.dumps({"top1": top1}))
    row = next(line for line in modules.quality_figures.finetuned(plan) if "3626" in line)
    assert row == "| 100 %: 3626 | 41.0 ± 1.0 | 46.0 ± 2.6 | +5.0 | -2.5 to +12.5 | - |"
    page = modules.quality.page(plan, ["DATA"])
    assert "6 of 130 commands are done" in "\n".join(page)
    assert "| 1 %: 36 | - | - | - | - | - |" in page


def write_top1(modules, plan, row, arm, found):
    """Of seed 0, with a tenth of the labels, by draw."""
    for draw, top1 in enumerate(found):
        place = plan.tuned(row, arm, modules.quality_plan.Drawn(10, 0, draw))
        place.mkdir(parents=True)
        (place / "summary.json").write_text(json.dumps({"top1": top1}))


def test_differences_are_of_the_draws_that_both_arms_have(modules, plan):
    plan = plan()
    write_top1(modules, plan, "recipe", "scratch", (40, 60, 80))
    write_top1(modules, plan, "recipe", "pretrained", (41, 61))
    row = next(line for line in modules.quality_figures.finetuned(plan) if ": 363 " in line)
    assert row == "| 10 %: 363 | 60.0 | 51.0 | +1.0 | - | - |"


def test_ablations_are_held_against_the_same_draw_and_a_named_row(modules, plan):
    plan = plan()
    write_top1(modules, plan, "recipe", "pretrained", (40, 60, 80))
    write_top1(modules, plan, "9 epochs", "pretrained", (40,))
    rows = list(modules.quality_figures.ablations(plan))[2:]
    assert rows == ["| recipe | - | - | 40.0 |", "| **9 epochs** | - | - | 40.0 |"]
    assert "as long as **9 epochs**" in "\n".join(modules.quality.page(plan, ["DATA"]))


def test_frozen_features_are_averaged_over_seeds(modules, plan):
    plan = plan()
    for seed, probe in enumerate([50.0, 52.0]):
        subjects = [
            {
                "measures": {"knn20": probe - gap, "probe": probe - gap, "rankme": 30.0},
                "few_labels": [{"name": "10 %", "mean": 20.0 - gap}],
            }
            for gap in (0, 10)
        ]
        place = plan.folder("recipe") / f"frozen-seed{seed}"
        place.mkdir(parents=True)
        (place / "summary.json").write_text(json.dumps({"subjects": subjects}))
    lines = list(modules.quality_figures.frozen(plan, ["recipe"]))[2:]
    assert lines == [
        "| recipe | pretrained | 51.0 ± 1.4 | 51.0 ± 1.4 | 20.0 ± 0.0 | - | 30.0 ± 0.0 |",
        "| recipe | random | 41.0 ± 1.4 | 41.0 ± 1.4 | 10.0 ± 0.0 | - | 30.0 ± 0.0 |",
    ]


def start(tmp_path, *more):
    for name in ("train", "test"):
        (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
    script = str(ROOT / "benchmarks/quality.py")
    words = [str(tmp_path / "data"), "--task", "fashion-mnist", "--out", str(tmp_path / "out")]
    return subprocess.Popen(
        [sys.executable, script, *words, *more],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_without_time_nothing_is_begun_and_the_page_is_printed(tmp_path):
    process = start(tmp_path, "--minutes", "0")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 75
    assert "commands are left; the same command goes on" in out
    assert "## Fine-tuned" in out
    assert not (tmp_path / "out").exists()


def test_data_without_its_folders_is_refused(tmp_path):
    script = str(ROOT / "benchmarks/quality.py")
    words = [str(tmp_path), "--task", "clothing", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, script, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "has no folder train and no test" in done.stderr


@pytest.mark.commands
def test_a_signal_comes_to_the_run_and_the_same_command_goes_on(tmp_path):
    words = [
        *(
            "--only",
            "pretrain",
            "--seeds",
            "1",
            "--",
            "--optim.epochs",
            "10",
            "--optim.warmup-epochs",
            "1",
        ),
        *("--data.shards", "data/fashion-mnist-sample/train-000000.tar"),
    ]
    process = start(tmp_path, *words)
    summary, log = tmp_path / "out/recipe/pretrain-seed0/summary.json", tmp_path / "out/log.txt"
    while "step 1/" not in (log.read_text() if log.is_file() else ""):
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (75, "")
    assert "1 commands are left" in out
    assert not summary.exists()
    process = start(tmp_path, *words)
    process.communicate(timeout=500)
    assert process.returncode == 0
    assert json.loads(summary.read_text())["lives"] == 2
