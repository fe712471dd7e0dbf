"""How `benchmarks/methods.py` chooses the learning rate of each method."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ssl_swin.command_line import read_config

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    names = ("methods_plan", "methods_rates", "methods_table", "quality_plan")
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture
def plan(modules, tmp_path):
    """Returns what makes a plan of methods that cost as much as the base."""

    def make(*methods, task="fashion-mnist"):
        names = ("simmim", "no pretraining", *methods)
        costs = dict.fromkeys(names, modules.methods_plan.Cost(1.0, 10.0))
        where = modules.quality_plan.TASKS[task], tmp_path / "data", tmp_path / "out"
        return modules.methods_plan.Plan(*where, 2, "seconds", costs, 2, names)

    return make


@pytest.mark.parametrize("task", ["clothing", "fashion-mnist"])
def test_a_learning_rate_is_a_factor_of_the_tasks(modules, plan, task):
    made = replace(plan("hog", task=task), factors={"hog": 0.5})
    rates = {}
    for name in ("simmim", "hog"):
        job = made.pretraining(made.run(name, 0))
        config, _ = read_config("pretrain", list(job.words[1:]))
        rates[name] = config.optim.base_lr
    assert rates["simmim"] == modules.methods_plan.BASE_LR[task]
    assert rates["hog"] == pytest.approx(rates["simmim"] / 2)


def test_each_rate_is_tried_after_what_it_begins_with_and_one_is_seed_0(modules, plan):
    made = plan("hog", "gfm")
    jobs = list(made.tries(["no pretraining", "hog", "gfm"]))
    folders = [job.done.parent.parent.name for job in jobs]
    hog, gfm = (f"{made.images[name]}-seed0" for name in ("hog", "gfm"))
    tried = [f"{hog}", f"{hog}-rate0.5", f"{hog}-rate0.25"]
    start = made.start(modules.methods_table.METHODS["gfm"], 0)
    tried += [f"{start.images}-seed0", f"{gfm}", f"{gfm}-rate0.5", f"{gfm}-rate0.25"]
    assert folders == tried
    slower = replace(made, factors={"simmim": 0.5})
    assert slower.start(modules.methods_table.METHODS["gfm"], 0).factor == 0.5
    all_jobs = {job.done for job in replace(made, factors={"hog": 0.25}).jobs()}
    assert jobs[2].done in all_jobs
    assert jobs[0].done not in all_jobs
    # What is measured beside the base is measured again beside another base.
    run = made.run("hog", 0)
    assert slower.features(run) != made.features(run)


def test_the_rate_with_the_least_loss_of_the_last_epoch_is_chosen(modules, plan):
    rates = modules.methods_rates
    made = plan("hog")
    for run, losses in zip(made.tried("hog"), ((9, 2), (1, 4), (5, 3)), strict=True):
        folder = made.encoder(run)
        folder.mkdir(parents=True)
        points = [(9.0, losses[0] + 1), (9.5, losses[1] - 0.5), (10.0, losses[1] + 0.5)]
        lines = [json.dumps({"train/epoch": epoch, "train/loss": x}) for epoch, x in points]
        lines.append(json.dumps({"norm/gradient_stem": 1.0}))
        (folder / "metrics.jsonl").write_text("\n".join(lines))
        assert rates.losses(made) == {}
        (folder / "summary.json").write_text("{}")
    found = rates.losses(made)
    assert found == {"hog": {1.0: 2.0, 0.5: 4.0, 0.25: 3.0}}
    assert rates.chosen(found) == {"hog": 1.0}
    assert rates.lacking(found, made.methods) == ["simmim"]
    path = made.out / "rates.json"
    rates.write(path, {"task": "clothing"}, found)
    assert rates.read(path) == ("clothing", found)
    assert rates.read(made.out / "none.json") == ("", {})
