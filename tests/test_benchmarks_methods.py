"""What `benchmarks/methods.py` runs, and what it gives each method."""

import importlib
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import ssl_swin
from ssl_swin.command_line import read_config
from ssl_swin.runs.network import build_simmim

ROOT = Path(__file__).parents[1]
TASKS = ("clothing", "fashion-mnist")


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    names = ("jobs", "methods", "methods_cost", "methods_plan", "methods_table")
    names += ("quality_plan",)
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture
def plan(modules, tmp_path):
    """Returns what makes a plan of methods with these costs, of the base's (1 s, 10 FLOPs)."""

    def make(costs=(), task="fashion-mnist", equal="seconds", seeds=2, more=(), epochs=2):
        table = modules.methods_table
        cost = modules.methods_plan.Cost
        known = dict.fromkeys((table.BASE, table.NONE), cost(1.0, 10.0))
        known |= {name: cost(*each) for name, each in dict(costs).items()}
        names = [name for name in table.METHODS if name in known]
        where = modules.quality_plan.TASKS[task], tmp_path / "data", tmp_path / "out"
        return modules.methods_plan.Plan(*where, seeds, equal, known, epochs, names, more, 2)

    return make


def all_of(modules):
    return dict.fromkeys(modules.methods_table.METHODS, (1.0, 10.0))


@pytest.mark.parametrize("task", TASKS)
def test_each_method_parses_and_builds_for_both_tasks(modules, tmp_path, task):
    plan, table = modules.methods_plan, modules.methods_table
    words = [*plan.pretrain_words(modules.quality_plan.TASKS[task], tmp_path, 320)[1:]]
    words += ["--run-dir", str(tmp_path / "run")]
    base, _ = read_config("pretrain", words)
    start = tmp_path / "start.safetensors"
    encoder = build_simmim(base).encoder
    ssl_swin.save_encoder(encoder, start, base.data.mean, base.data.std)
    for name, method in table.METHODS.items():
        for share, changes in table.timed_of(method, task, str(start)):
            config, _ = read_config("pretrain", [*words, *changes])
            assert (config == base) == (not changes), name
            with torch.device("meta"):
                network = build_simmim(config)
            assert 0 < share <= 1
            assert all(one.is_meta for one in network.parameters()), name
        assert sum(share for share, _ in method.timed) == pytest.approx(1)


def test_each_command_has_a_folder_of_its_own(modules, plan):
    jobs = list(plan(all_of(modules)).jobs())
    trainings = [job.words for job in jobs if job.words[0] in ("pretrain", "finetune")]
    folders = {words[words.index("--run-dir") + 1] for words in trainings}
    assert len(folders) == len(trainings)
    assert len({job.done for job in jobs}) == len(jobs)


@pytest.mark.parametrize("task", TASKS)
def test_each_network_is_fine_tuned_as_large_as_the_task_says(modules, plan, task):
    table = modules.methods_table
    special = [name for name, one in table.METHODS.items() if one.network]
    made = plan(dict.fromkeys(special, (1.0, 10.0)), task, more=("--training.num-threads", "1"))
    sizes = modules.methods_table.SIZES[task]
    for name in made.methods:
        job = next(made.finetuning(made.run(name, 0), 10, 0))
        config, _ = read_config("finetune", list(job.words[1:]))
        assert config.training.num_threads == 1
        assert (config.encoder is None) == (name == table.NONE)
        if name in special or name == table.NONE:
            assert config.model.window_size == int(sizes["window"])
        if table.METHODS[name].img_size:
            assert config.model.img_size == int(sizes["img_size"])
            assert sizes["img_size"] in made.frozen(made.run(name, 0)).words


def test_what_a_run_begins_with_is_there_before(modules, plan):
    made = set()
    for job in plan(all_of(modules)).jobs():
        needed = [word for word in job.words if word.endswith("/pretrain")]
        if job.words[0] == "pretrain":
            made.add(str(job.done.parent))
        assert made.issuperset(needed), job.words


def test_of_several_at_once_none_begins_before_what_it_needs(modules, plan):
    jobs = list(plan(all_of(modules), seeds=1).jobs())
    left, running, ended = list(jobs), [], []
    most = 0
    while left:
        while len(running) < 3 and (job := modules.jobs._ready(left, running)):
            done = {str(one.done.parent) for one in ended}
            made = {str(one.done.parent) for one in jobs if one is not job}
            assert made.intersection(job.words) <= done, job.words
            left.remove(job)
            running.append(SimpleNamespace(job=job))
        most = max(most, len(running))
        ended.append(running.pop().job)
    assert most == 3


@pytest.fixture
def signals_kept():
    """What asks to stop listens to signals; the tests after it are not to."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals_kept")
def test_after_a_failure_nothing_begins(modules, tmp_path, capsys):
    failing, other = (
        modules.jobs.Job(
            "frozen", ("evaluate", str(tmp_path / name), "--data", "x"), tmp_path / name
        )
        for name in ("one", "other")
    )
    log = tmp_path / "log.txt"
    assert modules.jobs.finish([failing, other], log, modules.jobs.Stop(None)) == 2
    said = capsys.readouterr()
    assert "[1/2] ssl-swin evaluate" in said.out
    assert "[2/2]" not in said.out
    assert said.err == f"error: it ended with 2; its words are in {log}\n"
    assert "error: " in log.read_text()


def test_all_methods_have_seed_0_before_seed_1_and_all_labels_come_later(modules, plan):
    first = [job.words for job in plan(all_of(modules), seeds=1).jobs()]
    jobs = [job.words for job in plan(all_of(modules), seeds=2).jobs()]
    stages = [
        (" ".join(words).count("finetune-100-draw"), " ".join(words).count("10-draw1"))
        for words in jobs
    ]
    assert stages == sorted(stages, key=lambda stage: (stage[1], stage[0]))
    num_cheap = sum("finetune-100" not in " ".join(words) for words in first)
    num_cheap -= sum("10-draw1" in " ".join(words) for words in first)
    assert jobs[:num_cheap] == first[:num_cheap]
    assert all("seed1/" in " ".join(words) for words in jobs[num_cheap : 2 * num_cheap])


def test_a_dearer_method_has_fewer_images(plan):
    images = plan({"hog": (2.0, 10.0), "small images": (0.5, 2.5)}).images
    assert images["simmim"] == 120_000 // 320 * 320
    assert images["hog"] == pytest.approx(60_000, rel=0.01)
    assert images["small images"] == pytest.approx(240_000, rel=0.01)
    by_flops = plan({"hog": (2.0, 10.0), "small images": (0.5, 2.5)}, equal="flops").images
    assert by_flops["hog"] == images["simmim"]
    assert by_flops["small images"] == pytest.approx(480_000, rel=0.01)


@pytest.mark.parametrize("equal", ["seconds", "flops"])
def test_all_methods_spend_the_same_with_what_they_begin_with(modules, plan, equal):
    costs = {
        name: (0.5 + 0.17 * (n % 8), 5 + 2.0 * (n % 7))
        for n, name in enumerate(modules.methods_table.METHODS)
    }
    made = plan(costs, task="clothing", equal=equal, epochs=9)
    budget = getattr(made.costs["simmim"], equal) * 9 * 4305
    for name in made.methods:
        if name != "no pretraining":
            assert getattr(made.spent(name), equal) == pytest.approx(budget, rel=0.04), name
    assert made.spent("no pretraining") == (0, 0)


def test_half_of_the_budget_is_for_the_start(plan):
    made = plan({"features of simmim": (2.0, 20.0)})
    assert made.images["features of simmim"] == pytest.approx(30_000, rel=0.02)
    pretrained = [job.words for job in made.jobs() if job.words[0] == "pretrain"]
    teacher = next(words for words in pretrained if "--target.teacher" in words)
    start = teacher[teacher.index("--target.teacher") + 1]
    before = next(words for words in pretrained if start in words and words is not teacher)
    per_epoch = int(before[before.index("--data.samples-per-epoch") + 1])
    assert per_epoch * 10 == pytest.approx(60_000, rel=0.01)
    assert (
        made.spent_images("features of simmim")
        == per_epoch * 10 + made.images["features of simmim"]
    )


def test_both_arms_share_runs_of_as_many_images(plan):
    costs = {"hog": (1.0, 10.0), "vit": (3.0, 20.0)}
    words = [{job.words for job in plan(costs, equal=arm).jobs()} for arm in ("seconds", "flops")]
    other = [job for job in words[1] - words[0] if "vit" not in " ".join(job)]
    assert not other


def measured(modules, ratio=(1.0, 1.0, 1.0), gflop=1.0, words=((),)):
    listed = [list(one) for one in words]
    return modules.methods_cost.Measured(listed, [30.0, 32.0, 40.0], list(ratio), gflop)


def test_a_ratio_that_cannot_be_told_from_1_is_1(modules):
    found = {
        "simmim": measured(modules),
        "hog": measured(modules, (0.98, 1.03, 1.1), 2.0),
        "vit": measured(modules, (2.0, 3.0, 4.0)),
    }
    costs = modules.methods_cost.costs_of(found)
    assert costs["simmim"] == costs["no pretraining"] == (0.001, 1e9)
    assert costs["hog"] == (0.001, 2e9)
    assert costs["vit"] == pytest.approx((0.003, 1e9))


def test_kinds_of_steps_count_by_their_share_of_the_images(modules):
    cost = modules.methods_cost
    base = [cost.Kind(1.0, None, 2.0, [10.0, 20.0])]
    mixed = [cost.Kind(0.25, None, 4.0, [40.0, 80.0]), cost.Kind(0.75, None, 8.0, [8.0, 16.0])]
    found = cost._measured([[], []], {"simmim": base, "vit": mixed}, "vit")
    assert found.gflop == 7.0
    assert found.ms == [20.0, 24.0, 28.0]
    assert found.ratio == pytest.approx([1.6, 1.6, 1.6])


def test_methods_with_other_settings_than_were_timed_are_named(modules, tmp_path):
    cost = modules.methods_cost
    words = cost.words_of("hog", "clothing")
    cost.write(tmp_path / "seconds.json", {"cores": 2}, {"hog": measured(modules, words=words)})
    found = cost.read_measured(tmp_path / "seconds.json")
    assert found == {"hog": measured(modules, words=words)}
    names = ["no pretraining", "hog", "vit"]
    assert cost.outdated(found, names, "clothing") == ["vit"]
    assert cost.outdated(found, names, "fashion-mnist") == ["hog", "vit"]  # of other cells
    assert cost.read_measured(tmp_path / "none.json") == {}


def test_what_is_not_calibrated_is_refused_in_one_line(modules, tmp_path, monkeypatch, capsys):
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
    words = [str(tmp_path), "--task", "clothing", "--out", str(tmp_path / "out"), "--only", "hog"]
    monkeypatch.setattr(sys, "argv", ["methods.py", *words])
    with pytest.raises(SystemExit, match="2"):
        modules.methods.main()
    said = capsys.readouterr().err.splitlines()[-1]
    assert "does not say what a step costs of simmim, hog, as they are now" in said
    assert not (tmp_path / "out").exists()
    about = {"processor": "a", "cores": 1, "date": "today", "commit": "c"}
    timed = {
        name: measured(modules, words=modules.methods_cost.words_of(name, "clothing"))
        for name in ("simmim", "hog")
    }
    modules.methods_cost.write(tmp_path / "out" / "seconds.json", about, timed)
    with pytest.raises(SystemExit, match="2"):
        modules.methods.main()
    said = capsys.readouterr().err.splitlines()[-1]
    assert "does not say which learning rate is for simmim, hog; give the same command with" in said
