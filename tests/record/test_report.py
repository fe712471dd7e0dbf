"""The report against a kept text. If a change of the table is meant, copy the new text in here."""

import json
import subprocess
import sys

import pytest

from ssl_swin.__main__ import run
from ssl_swin.record.lines import append_line
from ssl_swin.record.report import compare, find_runs, groups, results, show
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import Summary, write_summary

PRETRAIN = Summary(
    kind="pretrain",
    name="pretrain",
    seed=0,
    step=2340,
    epochs=15.0,
    samples_seen=149_760,
    train_loss=0.31,
    heldout_loss=0.312345,
    lives=3,
    seconds=90.0,
)

REPORT = """
  name               kind                                      start                         labels   seed   epochs   samples seen   held-out loss   top-1   best top-1   top-5   lives   minutes (last life)
 ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
  demo/finetune-s0   finetune                                  runs/demo/pretrain [seed 0]      200      0      100         19,200          0.9000   77.25        78.00   98.50       1                   2.0
  demo/pretrain      pretrain                                  -                                  -      0       15        149,760          0.3123       -            -       -       3                   1.5
  demo/stopped       unfinished, step 1,340 or later, life 2   -                                  -      -        -              -               -       -            -       -       -                     -
  other/[bold]x      pretrain                                  -                                  -      0       15        149,760          0.3123       -            -       -       3                   1.5
"""  # noqa: E501

COMPARISON = """
  labels used   start        seeds       top-1 of each      mean ± sd       min to max
 ──────────────────────────────────────────────────────────────────────────────────────
          200   scratch      0 1 2   60.00 62.00 64.00   62.00 ± 2.00   60.00 to 64.00
          200   pretrained   0 1 2   70.00 71.00 72.00   71.00 ± 1.00   70.00 to 72.00
        1,000   scratch          0               81.00      81.00 ± -   81.00 to 81.00
"""


def finetuned(seed, top1, num_labels=200, start="scratch"):
    return Summary(
        kind="finetune",
        name=f"{num_labels}-{start}-{seed}",
        seed=seed,
        step=300,
        epochs=100.0,
        samples_seen=19_200,
        train_loss=0.5,
        heldout_loss=0.9,
        top1=top1,
        top5=98.5,
        best_top1=78.0,
        num_labels=num_labels,
        start=start,
        seconds=120.0,
    )


SEVERAL = [
    finetuned(2, 72.0, start="runs/demo/pretrain"),
    finetuned(0, 70.0, start="runs/demo/pretrain"),
    finetuned(1, 71.0, start="runs/demo/pretrain"),
    finetuned(0, 81.0, num_labels=1000),
    *(finetuned(seed, 60.0 + 2 * seed) for seed in range(3)),
]


@pytest.fixture
def runs(tmp_path):
    start = "runs/demo/pretrain [seed 0]"
    write_summary(RunFolder(tmp_path / "demo" / "pretrain"), PRETRAIN)
    write_summary(RunFolder(tmp_path / "demo" / "finetune-s0"), finetuned(0, 77.25, start=start))
    write_summary(RunFolder(tmp_path / "other" / "[bold]x"), PRETRAIN)
    stopped = RunFolder(tmp_path / "demo" / "stopped")
    for life, step in ((1, 0), (2, 1200)):
        append_line(stopped.lives, {"life": life, "step": step, "world_size": 1})
    append_line(stopped.metrics, {"step": 1340, "train/loss": 0.3})
    return tmp_path


def lines(text):
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def test_the_table_is_the_kept_one(runs, capsys):
    assert run(["report", str(runs)]) == 0
    assert lines(capsys.readouterr().out) == lines(REPORT)


def test_the_comparison_is_the_kept_one(capsys):
    show(compare(SEVERAL))
    assert lines(capsys.readouterr().out) == lines(COMPARISON)


def test_a_run_named_twice_is_shown_once(runs):
    demo = runs / "demo"
    found = find_runs([demo / "pretrain", demo, demo / ".." / "demo" / "pretrain"])
    assert [folder.root.name for folder in found] == ["pretrain", "finetune-s0", "stopped"]


def test_a_run_that_only_waits_in_the_queue_is_found(runs, capsys):
    append_line(runs / "queued" / "seed=0" / "jobs.jsonl", {"job": "14"})
    assert run(["report", str(runs / "queued")]) == 0
    assert "seed=0   unfinished, not started" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no runs are named"):
        find_runs([])


def test_a_column_that_no_run_fills_is_left_out(runs):
    table = results([RunFolder(runs / "demo" / "pretrain")])
    headers = [column.header for column in table.columns]
    assert "held-out loss" in headers
    assert not {"top-1", "best top-1", "top-5", "labels", "start"} & set(headers)


def test_a_place_without_runs_is_refused_with_what_to_do(tmp_path, capsys):
    assert run(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert str(tmp_path) in error
    assert "give the run_dir" in error


def test_a_summary_of_another_version_is_refused_by_name(runs):
    path = runs / "demo" / "pretrain" / "summary.json"
    path.write_text(json.dumps({"accuracy": 1.0}))
    with pytest.raises(ValueError, match=r"summary\.json is not a summary of this version"):
        results(find_runs([runs]))


def test_a_line_that_was_cut_off_is_passed_over(runs, capsys):
    for name in ("lives.jsonl", "metrics.jsonl"):
        with (runs / "demo" / "stopped" / name).open("a") as file:
            file.write('{"step": 1')
    assert run(["report", str(runs)]) == 0
    assert lines(capsys.readouterr().out) == lines(REPORT)


def test_an_unfinished_run_without_points_tells_where_its_life_began(runs, capsys):
    (runs / "demo" / "stopped" / "metrics.jsonl").unlink()
    assert run(["report", str(runs / "demo" / "stopped")]) == 0
    assert "unfinished, step 1,200 or later, life 2" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "{\n", "[]\n", '{"step": 1}\n'])
def test_a_damaged_record_of_lives_is_refused_by_name(runs, text):
    (runs / "demo" / "stopped" / "lives.jsonl").write_text(text)
    with pytest.raises(ValueError, match=r"lives\.jsonl.* is damaged"):
        results(find_runs([runs]))


def test_groups_pair_each_seed_with_its_top1():
    few, pretrained, many = groups([*SEVERAL, PRETRAIN])
    assert (few.num_labels, few.pretrained, few.seeds) == (200, False, (0, 1, 2))
    assert (pretrained.seeds, pretrained.top1) == ((0, 1, 2), (70.0, 71.0, 72.0))
    assert (pretrained.mean, pretrained.sd) == (71.0, 1.0)
    assert many.sd is None


def test_two_runs_of_one_seed_are_not_averaged():
    with pytest.raises(ValueError, match="have seed 1"):
        groups([finetuned(1, 60.0), finetuned(1, 61.0)])


def test_nothing_to_compare_is_refused():
    with pytest.raises(ValueError, match="no fine-tuning run with a top-1"):
        compare([PRETRAIN])


def test_the_report_needs_no_torch():
    code = "import sys, ssl_swin.record.report; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
