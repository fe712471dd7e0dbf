import ast
import re
from pathlib import Path

import pytest

from ssl_swin.record import tags
from ssl_swin.record.tags import CHARTS, HELDOUT, PREFIXES, TAGS, TRAIN, charts_of, shown

SOURCE = Path(tags.__file__).parents[1]


def test_loss_is_the_first_group_and_metrics_the_second_of_a_fine_tuning():
    groups = sorted({tag.name.partition("/")[0] for tag in TAGS.values()})
    assert groups[:2] == ["loss", "metrics"]  # TensorBoard opens two


def test_two_points_share_no_place():
    places = [(tag.run, tag.name) for table in (TAGS, PREFIXES) for tag in table.values()]
    assert len({*places}) == len(places)


def test_each_layer_s_learning_rate_is_a_curve_and_one_for_all_is_one():
    rates = {"lr/layer_1_decay": 0.1, "lr/layer_1_no_decay": 0.1, "lr/layer_12_decay": 0.3}
    assert [(tag.name, value) for tag, value in shown(rates)] == [
        ("optimiser/lr", 0.3),
        ("optimiser/lr_lowest", 0.1),
        ("optimiser/lr_of_layer_01", 0.1),
        ("optimiser/lr_of_layer_12", 0.3),
    ]
    assert [tag.name for tag, _ in shown({"lr/decay": 0.1, "lr/no_decay": 0.1})] == ["optimiser/lr"]


@pytest.mark.parametrize(
    ("name", "place"), [("heldout/new", (HELDOUT, "metrics/new")), ("own/new", (TRAIN, "own/new"))]
)
def test_a_point_without_a_line_in_the_table_is_shown_too(name, place):
    ((tag, _),) = shown({name: 1.0})
    assert (tag.run, tag.name) == place


def test_every_point_that_is_logged_has_a_line():
    groups = ("train", "heldout", "speed", "data", "gpu")
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
    known = [tag.name for table in (TAGS, PREFIXES) for tag in table.values()]
    assert any(re.search(one, name) for one in patterns for name in known)


def test_a_point_of_a_stage_is_shown_by_how_its_name_begins():
    names = ("norm/gradient_stage1", "quality/rankme_stage2", "quality/rankme")
    found = [tag for name in names for tag, _ in shown({name: 1.0})]
    assert [(tag.run, tag.name) for tag in found] == [
        (TRAIN, "stages/gradient_norm_stage1"),
        (HELDOUT, "metrics/rankme_stage2"),
        (HELDOUT, "metrics/rankme"),
    ]
    assert all(tag.description for tag in found)


def test_a_chart_without_a_curve_is_not_laid_out():
    assert charts_of(["speed/mfu", "loss"]) == {
        "Training": {"loss, of pixels (standard deviations) or labels (nats)": ["^loss$"]},
        "Speed": {"MFU, per cent": ["^speed/mfu$"]},
    }
