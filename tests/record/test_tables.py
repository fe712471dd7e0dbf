import re
from dataclasses import replace

import pytest

from ssl_swin.record.loaded import write_loaded
from ssl_swin.record.report import report
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import write_summary
from ssl_swin.record.tables import as_markdown, table
from tests.record.test_report import finetuned, words


def test_a_column_without_a_cell_is_left_out_and_what_is_missing_is_a_dash():
    found = table("", [{"name": "a", "loss": None}, {"name": "b", "loss": None, "life": "2"}])
    assert [str(column.header) for column in found.columns] == ["name", "life"]
    assert [str(cell) for cell in found.columns[1].cells] == ["-", "2"]


@pytest.mark.parametrize("name", ["[bold]x[/bold]", "a [red]b"])
def test_brackets_are_no_markup(name):
    assert f"| {name} | 1 |" in as_markdown([table("t", [{"name": name, "life": "1"}])])


def test_runs_of_other_tasks_have_tables_of_their_own(tmp_path, capsys):
    found = {
        "by-auroc": {"auroc": 0.91234, "best_auroc": 0.95, "best_metric": "best_auroc"},
        "by-loss": {"best_heldout_loss": 0.25, "best_metric": "best_heldout_loss"},
        "labels": {"task": "multi-label", "top1": None, "map": 61.234, "best_map": 70.0},
        "worse": {"task": "multi-label", "top1": None, "map": 50.0, "best_map": 70.0},
        "numbers": {"task": "regression", "top1": None, "mae": 12.34, "r2": -0.5, "best_r2": 0.1},
        "unmeasured": {"task": "regression", "top1": None},
    }
    for name, values in found.items():
        write_summary(RunFolder(tmp_path / name), replace(finetuned(0, 77.0), **values))
    report(tmp_path, output=tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text()
    for row in (
        "by-auroc | 77.00 | 76.50 | 0.9500 AUROC | 0.9123 | 200 | scratch | 0 | 2.0 |",
        "by-loss | 77.00 | 76.50 | 0.2500 loss | - | 200 | scratch | 0 | 2.0 |",
        "labels | 61.23 | 70.00 | 200 | scratch | 0 | 2.0 |",
        "numbers | -0.5000 | 0.1000 | 12.34 | 0.9000 | 200 | scratch | 0 | 2.0 |",
        "unmeasured | - | - | - | 0.9000 | 200 | scratch | 0 | 2.0 |",
    ):
        assert row in text
    names = re.findall(r"^\| ([a-z-]+) \| [-\d]", text, re.M)
    assert names == [*found]
    shown = capsys.readouterr().out
    assert max(map(len, shown.partition("next:")[0].splitlines())) <= 80


def test_words_beside_the_best_leave_the_other_columns_whole(tmp_path, capsys):
    found = {"r2": -0.3478, "best_heldout_loss": 0.5961, "mae": 0.4541}
    summary = replace(finetuned(0, None), task="regression", best_metric="best_heldout_loss")
    write_summary(RunFolder(tmp_path / ("n" * 20)), replace(summary, start="a", **found))
    report(tmp_path)
    told = "-0.3478 0.5961 loss 0.4541 200 pretrained 0 2.0"
    assert told in words(capsys.readouterr().out)


def test_weights_that_a_run_began_with_are_counted(tmp_path, capsys):
    folder = RunFolder(tmp_path / "tuned")
    write_summary(folder, finetuned(0, 77.0))
    named = {"loaded": ["a", "b"], "dropped": ["head"], "missing": []}
    write_loaded(folder, {"source": "t.pth", "kind": "timm's Swin"} | named)
    report(tmp_path)
    shown = capsys.readouterr().out
    assert "name kind loaded dropped" in words(shown)
    assert "tuned timm's Swin 2 1" in words(shown)
