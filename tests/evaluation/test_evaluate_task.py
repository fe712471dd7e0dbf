"""Tables of several classes, or of numbers; `tests/runs/test_tasks.py` writes them of a run."""

import numpy as np

from ssl_swin.evaluation.evaluate_task import show_task
from ssl_swin.evaluation.task_findings import TaskFindings
from tests.evaluation.test_task_findings import card


def test_the_first_classes_and_the_measures_are_shown(capsys):
    names = [f"class {number}" for number in range(40)]
    target = np.eye(40)
    found = TaskFindings("multi-label", np.arange(40), target, target, ())
    show_task(found, card("multi-label", *names))
    said = capsys.readouterr().out
    assert "class 29" in said
    assert "class 30" not in said
    assert "per_class.csv has all 40" in said
    assert "mAP 100.00 %, macro F1 100.00 %, AUROC 1.0000, all classes right 100.00 %" in said


def test_the_file_with_all_numbers_is_named(capsys):
    names = [f"number {number}" for number in range(40)]
    numbers = np.arange(80.0).reshape(2, 40)
    found = TaskFindings("regression", np.arange(2), numbers, numbers, ())
    show_task(found, card("regression", *names))
    assert "per_number.csv has all 40" in capsys.readouterr().out


def test_numbers_that_are_the_same_of_all_images_have_no_r2(capsys):
    same = np.ones((2, 1))
    show_task(
        TaskFindings("regression", np.arange(2), same, same + 1, ()), card("regression", "value")
    )
    assert "MAE 1, RMSE 1, R2 nan" in capsys.readouterr().out
