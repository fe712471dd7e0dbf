"""What the figures of `benchmarks/methods.py` say of what its runs have found."""

import csv
import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    names = ("methods", "methods_cost", "methods_figures", "methods_plan", "methods_rates")
    names += ("quality_plan",)
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    sys.path.remove(str(ROOT / "benchmarks"))


def write(path, **found):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))


def tune(plan, name, seed, right, share=100, draw=0):
    """Writes a fine-tuning that is right on so many of 100 test images."""
    place = plan.tuned(plan.run(name, seed), share, draw)
    write(place / "summary.json", top1=float(right))
    table = place / "evaluation" / "test" / "images.csv"
    table.parent.mkdir(parents=True)
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["is", "label"])
        rows.writerows([[int(n < right), 1] for n in range(100)])


def freeze(plan, name, seed, probe, low, high):
    differences = [{"measure": "probe", "low": low, "high": high}]
    subjects = [{"measures": {"knn20": 50.0, "probe": probe}}]
    write(
        plan.features(plan.run(name, seed)) / "summary.json",
        subjects=subjects,
        differences=differences,
    )


@pytest.fixture
def told(modules, tmp_path):
    """A plan with two seeds: hog gains, vit loses, and block mask does neither."""
    names = ("simmim", "no pretraining", "hog", "block mask", "vit")
    costs = dict.fromkeys(names, modules.methods_plan.Cost(1.0, 10.0))
    task = modules.quality_plan.TASKS["fashion-mnist"]
    made = modules.methods_plan.Plan(
        *(task, tmp_path / "data", tmp_path / "out", 2, "seconds", costs, 2, names),
        factors={"hog": 0.5, "vit": 0.25},
    )
    for seed in range(2):
        for name, right in (("simmim", 50), ("hog", 70), ("vit", 20)):
            tune(made, name, seed, right + seed)
        tune(made, "block mask", seed, (45, 56)[seed])
        freeze(made, "simmim", seed, 50.0, 0, 0)
        freeze(made, "hog", seed, 52.0 + 0.1 * seed, 1.0, 3.0 + seed)
    return made


def test_gains_have_intervals_over_seeds_and_over_images(modules, told):
    figures = modules.methods_figures
    hog = figures.gain(told, "hog", "fine-tuned, 100 %")
    assert hog.mean == 20
    assert hog.seeds == (20, 20)
    assert hog.images == pytest.approx((20 - 1.96 * 4, 20 + 1.96 * 4), abs=0.6)
    probe = figures.gain(told, "hog", "probe")
    assert probe.mean == pytest.approx(2.05)
    assert probe.images == (1.0, 3.5)  # the mean of what evaluations say of their seeds
    assert figures.gain(told, "hog", "fine-tuned, 10 %") is None
    assert [figures.gain(told, name, "fine-tuned, 100 %").sign for name in told.methods[2:]] == [
        *(1, 0, -1)
    ]


def test_the_sentence_is_of_the_table(modules, told):
    figures = modules.methods_figures
    lines = list(figures.verdict(figures.all_gains(told)))
    assert lines == [
        "- 20 neighbours: nothing can be told yet, which takes two seeds and their test images.",
        "- probe: hog gains most, +2.1 (+1.4 to +2.7).",
        "- fine-tuned, 10 %: nothing can be told yet, which takes two seeds and their test images.",
        "- fine-tuned, 100 %: hog gains most, +20.0 (+20.0 to +20.0); worse: vit.",
        "- Worth it, so far, for it gains somewhere and loses nowhere: hog.",
    ]
    one_seed = {"probe": {"vit": figures.Gain(9.0, None, (8.0, 10.0))}}
    assert list(figures.verdict(one_seed)) == [
        "- probe: nothing can be told yet, which takes two seeds and their test images."
    ]
    nothing = {"probe": {"vit": figures.Gain(1.0, (-1.0, 3.0), (0.5, 1.5))}}
    assert list(figures.verdict(nothing)) == [
        "- probe: no gain that these seeds can tell.",
        "- Worth it, so far, for it gains somewhere and loses nowhere: nothing more than simmim.",
    ]


def test_the_page_has_all_that_was_found_and_what_it_took(modules, told):
    about = {"processor": "a", "cores": 1, "date": "today", "commit": "c"}
    ones = [1.0, 1.0, 1.0]
    timed = modules.methods_cost.Measured([[]], [30.0, 32.0, 40.0], ones, 1.0)
    about["methods"] = {"simmim": timed}
    losses = {"hog": {1.0: 0.5, 0.5: 0.25, 0.25: 0.75}, "vit": {1.0: 3.0, 0.5: 2.0, 0.25: 1.0}}
    rates = modules.methods_rates.Rates("clothing", losses)
    page = modules.methods.page([told], about, rates, ["DATA"])
    images = told.images["hog"]
    assert f"| hog | 0.5 | {images:,} | 2.0 | {images:,} | 0.0 | 2 | 50.0 ± 0.0 |" in "\n".join(
        page
    )
    assert any(line.startswith("| vit | - | - | - | **-30.0**; -30.0 to -30.0;") for line in page)
    assert "| simmim | 32 (30 to 40) | 1.00 (1.00 to 1.00) | 1.000 |" in page
    assert "Chosen on clothing: " in "\n".join(page)
    assert "a less one may be better still: vit." in "\n".join(page)
    assert "| hog | 0.5000 | **0.2500** | 0.7500 |" in page
    drawn = modules.methods_figures.plot(told, modules.methods_figures.all_gains(told))
    circles = ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}circle")
    assert len([*circles]) == 5  # one of 20 neighbours, one of probe, three of fine-tuning
    assert modules.methods_figures.plot(told, {"probe": {}}) is None
