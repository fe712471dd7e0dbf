"""The report against a kept text. If a change of the table is meant, copy the new text in here."""

import csv
import json
import subprocess
import sys

import pytest

from ssl_swin.__main__ import run
from ssl_swin.record.lines import append_line, write_text
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
    knn=41.234,
    lives=3,
    seconds=90.0,
)

REPORT = """
Fine-tuned, best first; top-1 in per cent of the held-out images
name              top-1  balanced   best  top-5  labels       start  seed  min
───────────────────────────────────────────────────────────────────────────────
demo/finetune-s0  77.25     76.50  78.00  98.50     200  pretrained     0  2.0
Pretrained; loss on held-out images, and of the last steps
name              kNN, %  held-out    loss  epochs  images  seed  min  lives
─────────────────────────────────────────────────────────────────────────────
demo/pretrain      41.23    0.3123  0.3100      15   150 k     0  1.5      3
other/[bold]x      41.23    0.3123  0.3100      15   150 k     0  1.5      3
Not finished
name               step    loss  life  ended
──────────────────────────────────────────────────────────────
demo/stopped      1,340  0.3000     2  goes on, or was killed
"""

COMPARISON = """
labels used       start  top-1, mean ± sd  seeds      top-1 of each
────────────────────────────────────────────────────────────────────
        200     scratch      62.00 ± 2.00  0 1 2  60.00 62.00 64.00
        200  pretrained      71.00 ± 1.00  0 1 2  70.00 71.00 72.00
      1,000     scratch         81.00 ± -  0                  81.00
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
        balanced_top1=76.5,
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


def words(text):
    """The words, whatever is between them."""
    return " ".join(text.replace("\\", "").split())


def test_the_table_is_the_kept_one(runs, capsys):
    assert run(["report", str(runs)]) == 0
    assert lines(capsys.readouterr().out.partition("next:")[0]) == lines(REPORT)


def test_the_comparison_is_the_kept_one(capsys):
    show(compare(SEVERAL))
    assert lines(capsys.readouterr().out) == lines(COMPARISON)


def test_what_an_unfinished_run_of_another_task_found_is_told(runs, capsys):
    stopped = RunFolder(runs / "demo" / "stopped")
    append_line(stopped.metrics, {"step": 1350, "heldout/mae": 12.5, "heldout/r2": 0.25})
    assert run(["report", str(stopped.root)]) == 0
    assert "stopped 1,350 0.3000 12.5 0.2500 2 goes on" in words(capsys.readouterr().out)


def test_a_run_named_twice_is_shown_once(runs):
    demo = runs / "demo"
    found = find_runs([demo / "pretrain", demo, demo / ".." / "demo" / "pretrain"])
    assert [folder.root.name for folder in found] == ["pretrain", "finetune-s0", "stopped"]


def test_a_run_that_only_waits_in_the_queue_is_found(runs, capsys):
    append_line(runs / "queued" / "seed=0" / "jobs.jsonl", {"job": "14"})
    assert run(["report", str(runs / "queued")]) == 0
    assert "seed=0 not started" in words(capsys.readouterr().out)
    with pytest.raises(ValueError, match="no runs are named"):
        find_runs([])


def test_an_evaluation_is_no_run(runs, capsys):
    append_line(runs / "queued/jobs.jsonl", {"job": "14", "kind": "evaluate"})
    write_text(runs / "done/summary.json", json.dumps({"kind": "frozen", "test": {}}))
    assert run(["report", str(runs)]) == 0
    assert lines(capsys.readouterr().out.partition("next:")[0]) == lines(REPORT)
    found = find_runs([runs], evaluations=True)
    assert "queued" in [folder.root.name for folder in found]


def test_a_column_that_no_run_fills_is_left_out(runs):
    write_summary(RunFolder(runs / "x"), finetuned(0, 77.25, num_labels=None))
    (table,) = results([RunFolder(runs / "x")])
    headers = [column.header for column in table.columns]
    assert headers == ["name", "top-1", "balanced", "best", "top-5", "start", "seed", "min"]


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
    assert lines(capsys.readouterr().out.partition("next:")[0]) == lines(REPORT)


def test_an_unfinished_run_without_points_tells_where_its_life_began(runs, capsys):
    (runs / "demo" / "stopped" / "metrics.jsonl").unlink()
    assert run(["report", str(runs / "demo" / "stopped")]) == 0
    assert "stopped 1,200 2 goes on, or was killed" in words(capsys.readouterr().out)


@pytest.mark.parametrize("text", ["", "{\n", "[]\n", '{"step": 1}\n'])
def test_a_damaged_record_of_lives_is_refused_by_name(runs, text):
    (runs / "demo" / "stopped" / "lives.jsonl").write_text(text)
    with pytest.raises(ValueError, match=r"lives\.jsonl.* is damaged"):
        results(find_runs([runs]))


def test_the_report_fits_80_columns_and_names_stay_whole(runs, capsys):
    name = "a-very-long-name-of-a-sweep-" * 3
    write_summary(RunFolder(runs / "other" / name), finetuned(11, 100.0))
    append_line(runs / "queued" / name / "jobs.jsonl", {"job": "14"})
    assert run(["report", str(runs)]) == 0
    shown, _, commands = capsys.readouterr().out.partition("next:")
    assert max(map(len, shown.splitlines())) == 80
    assert name in commands
    cells = [line.split()[0] for line in shown.splitlines() if line.strip()]
    assert f"other/{name}" in "".join(cells)


def test_of_an_unfinished_run_the_last_points_and_its_end_are_told(runs, capsys):
    stopped = RunFolder(runs / "demo" / "stopped")
    append_line(stopped.metrics, {"step": 1350, "heldout/top1": 61.0})
    append_line(stopped.ends, {"life": 2, "step": 1360, "reason": "signal SIGTERM", "status": 75})
    assert run(["report", str(stopped.root)]) == 0
    shown = words(capsys.readouterr().out)
    assert "stopped 1,350 0.3000 61.00 2 signal SIGTERM" in shown
    assert f"ssl-swin status {stopped.root}" in shown


def test_what_to_type_next_begins_with_the_best_classifier_or_the_encoder(runs, capsys):
    write_summary(RunFolder(runs / "demo" / "finetune-s1"), finetuned(1, 80.0))
    for place, command in (
        ("demo", f"ssl-swin predict {runs}/demo/finetune-s1 NEW_IMAGES -o predictions.csv"),
        ("demo/pretrain", f"ssl-swin finetune --encoder {runs}/demo/pretrain --data.shards "),
    ):
        assert run(["report", str(runs / place)]) == 0
        shown = capsys.readouterr().out.partition("next:")[2]
        assert words(shown).startswith(command)


def test_the_tables_are_written_as_markdown_and_all_fields_as_csv(runs, tmp_path, capsys):
    assert run(["report", str(runs / "demo"), "-o", str(tmp_path / "r.md")]) == 0
    assert "| demo/pretrain |" not in (text := (tmp_path / "r.md").read_text())
    assert "| pretrain | 41.23 | 0.3123 | 0.3100 | 15 | 150 k | 0 | 1.5 | 3 |" in text
    assert run(["report", str(runs / "demo"), "--output", str(tmp_path / "r.csv")]) == 0
    with (tmp_path / "r.csv").open(newline="") as file:
        finished, _, unfinished = csv.DictReader(file)
    assert (finished["kind"], float(finished["top1"])) == ("finetune", 77.25)
    assert (unfinished["run"], unfinished["top1"]) == (str(runs / "demo" / "stopped"), "")
    assert run(["report", str(runs), "-o", str(tmp_path / "r.txt")]) == 2
    assert "must end in .html, .md, .csv" in capsys.readouterr().err


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
