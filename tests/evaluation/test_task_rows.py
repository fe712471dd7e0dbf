"""Rows of several classes, or of numbers."""

from ssl_swin.evaluation.task_rows import columns_of, said_of
from tests.evaluation.test_task_findings import card

SEVERAL = card("multi-label", "cat", "new\nline")
NUMBERS = card("regression", "value_1", "value_2")


def test_columns_are_named_for_classes_and_numbers():
    shares = ("probability of cat", "probability of new\\nline")
    assert columns_of(SEVERAL, "is") == ("image", "is", "labels", *shares, "error")
    assert columns_of(NUMBERS) == ("image", "value_1", "value_2", "error")


def test_classes_of_one_half_or_more_are_said_to_be_there():
    row = said_of([0.5, 0.4999999], SEVERAL)
    assert row["labels"] == "cat"
    assert row["probability of cat"] == 0.5
    assert said_of([0.5, 1.0], SEVERAL)["labels"] == "cat;new\\nline"
    assert said_of([1234.5678, -0.1], NUMBERS) == {"value_1": 1234.57, "value_2": -0.1}
