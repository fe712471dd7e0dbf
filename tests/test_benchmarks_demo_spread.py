"""What `benchmarks/demo_spread.py` makes of what demos found."""

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def module():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield importlib.import_module("demo_spread")
    sys.path.remove(str(ROOT / "benchmarks"))


def found(module, threads, seed, scratch, pretrained, probe=None):
    top1 = {
        "scratch": dict(enumerate(scratch, seed)),
        "pretrained": dict(enumerate(pretrained, seed)),
    }
    frozen = {} if probe is None else {"pretrain": {"knn20": probe, "probe": probe}}
    return module.Demo(threads, seed, top1, frozen)


def test_gains_are_those_of_the_same_labels(module):
    one = found(module, 1, 3, [60.0, 61.0, 62.0], [68.0, 68.0])  # the last is not done yet
    assert module.gains(one) == [8.0, 7.0]


def test_the_spread_tells_demos_fine_tunings_and_threads_apart(module):
    demos = [
        found(module, 1, 0, [60.0, 62.0], [66.0, 70.0], 70.0),
        found(module, 2, 0, [60.0, 62.0], [67.0, 71.0], 72.0),
        found(module, 1, 2, [61.0, 61.0], [70.0, 74.0]),
    ]
    lines = {line.split(" | ")[0]: line for line in module.spread(demos)}
    assert lines["| from scratch"] == "| from scratch | 1.2 | 61.0 ± 0.0 | 61.0 to 61.0 | 0.0 |"
    assert lines["| pretrained"] == "| pretrained | 2.8 | 69.7 ± 2.8 | 68.0 to 72.0 | 1.0 |"
    assert lines["| probe, pretrained"] == "| probe, pretrained | - | 71.0 | 70.0 to 72.0 | 2.0 |"
    assert "| probe, random" not in lines


def test_a_demo_that_has_come_halfway_has_dashes(module):
    *_, line = module.table([found(module, 1, 0, [60.0], [])])
    assert line == "| 1 | 0 | 60.0 | - | - | - | - | - | - |"


def test_the_pretrained_encoder_is_found_by_whatever_name(module, tmp_path):
    place = module.folder(tmp_path, 1, 0) / "frozen"
    place.mkdir(parents=True)
    subjects = [
        {"name": f"{place.parent.name}-pretrain", "measures": {"probe": 70.0}},
        {"name": "random", "measures": {"probe": 60.0}},
    ]
    (place / "summary.json").write_text(json.dumps({"subjects": subjects}))
    found = module.read_demo(tmp_path, 1, 0, 3).frozen
    assert found == {"pretrain": {"probe": 70.0}, "random": {"probe": 60.0}}
