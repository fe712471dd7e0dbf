from dataclasses import fields

import pytest

from ssl_swin.record.measures import MEASURES, heldout_told
from ssl_swin.record.summary import Summary


def test_what_is_not_the_best_is_told_with_the_best():
    found = {"top1": 81.0, "best_top1": 83.0, "balanced_top1": 80.0, "heldout_loss": 0.5}
    assert heldout_told(found) == "top-1 81.00 % (best 83.00 %), balanced 80.00 %, loss 0.5000"
    found = {"heldout_loss": 0.5, "best_heldout_loss": 0.4}
    assert heldout_told(found) == "loss 0.5000 (lowest 0.4000)"
    assert heldout_told({"heldout_loss": 0.5, "best_heldout_loss": 0.5}) == "loss 0.5000"
    assert heldout_told({}) == "nothing finite"


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"map": 61.2345, "best_map": 70.0}, "mAP 61.23 % (best 70.00 %)"),
        ({"mae": 0.0123456, "r2": -0.5, "best_r2": -0.5}, "MAE 0.01235, R2 -0.5000"),
        ({"auroc": 0.75, "best_auroc": 0.8}, "AUROC 0.7500 (best 0.8000)"),
    ],
)
def test_other_tasks_and_measures_are_told_in_their_units(found, told):
    assert heldout_told(found) == told


def test_each_is_a_field_of_the_summary_and_so_is_its_best():
    known = {one.name for one in fields(Summary)}
    for name, measure in MEASURES.items():
        assert name in known
        assert not measure.best or f"best_{name}" in known
