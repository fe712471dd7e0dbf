import ast
import re
from pathlib import Path

import pytest

from ssl_swin.record import tags
from ssl_swin.record.tags import CHARTS, HELDOUT, TAGS, TRAIN, shown

SOURCE = Path(tags.__file__).parents[1]


def test_loss_is_the_first_group_and_metrics_the_second_of_a_fine_tuning():
    groups = sorted({tag.name.partition("/")[0] for tag in TAGS.values()})
    assert groups[:2] == ["loss", "metrics"]  # TensorBoard opens two


def test_two_points_share_no_place():
    places = [(tag.run, tag.name) for tag in TAGS.values()]
    assert len({*places}) == len(places)


def test_a_learning_rate_for_each_layer_is_two_curves_and_one_for_all_is_one():
    assert [(tag.name, value) for tag, value in shown({"lr/a": 0.1, "lr/b": 0.3})] == [
        ("optimiser/lr", 0.3),
        ("optimiser/lr_lowest", 0.1),
    ]
    assert [tag.name for tag, _ in shown({"lr/decay": 0.1, "lr/no_decay": 0.1})] == ["optimiser/lr"]


@pytest.mark.parametrize(
    ("name", "place"), [("heldout/new", (HELDOUT, "metrics/new")), ("own/new", (TRAIN, "own/new"))]
)
def test_a_point_without_a_line_in_the_table_is_shown_too(name, place):
    ((tag, _),) = shown({name: 1.0})
    assert (tag.run, tag.name) == place


def test_every_point_that_is_logged_has_a_line():
    groups = ("train", "heldout", "speed", "data")
    found = {
        node.value
        for path in (SOURCE / "training").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.fullmatch(rf"({'|'.join(groups)})/[a-z0-9_]+", node.value)
    }
    assert {"train/loss", "heldout/bad_samples"} <= found <= {*TAGS}


@pytest.mark.parametrize("patterns", [p for group in CHARTS.values() for p in group.values()])
def test_every_chart_has_a_curve(patterns):
    assert any(re.search(one, tag.name) for one in patterns for tag in TAGS.values())
