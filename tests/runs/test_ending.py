import io
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ssl_swin.record.lines import append_line
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs import ending
from ssl_swin.runs.ending import tell_finished, tell_stopped
from ssl_swin.runs.export import summarise
from ssl_swin.runs.life import train
from ssl_swin.typed import WIDTH
from tests.training.launch import finetune_config, pretrain_config
from tests.training.tiny import built

LIVES = [{"life": 1, "step": 0, "world_size": 2}, {"life": 2, "step": 4, "world_size": 2}]


@pytest.fixture
def run_of(tmp_path, tiny_shards, capsys):
    """Factory of runs with two lives on record, which end with these `metrics`."""

    def make(configure, place="pretrain", **metrics):
        run = built(configure(tmp_path / place, tiny_shards([30, 20], mode="RGB")))
        run.module.step, run.module.metrics = run.sizes.stop_step, metrics
        folder = run.start.folder
        for life in LIVES:
            append_line(folder.lives, life)
        append_line(folder.ends, {"life": 2, "step": 8, "status": 0, "seconds": 6.0})
        append_line(folder.ends, {"life": 2, "step": 8, "status": 1, "seconds": 60.0})
        capsys.readouterr()
        return run

    return make


def lines_of(told):
    """Each line by its first word, and the commands as they would be typed."""
    table, _, commands = told.partition("next:\n")
    named = {line.split()[0]: " ".join(line.split()[1:]) for line in table.splitlines()}
    return named, [shlex.split(one) for one in commands.replace("\\\n", " ").splitlines()]


def test_a_finished_pretraining_tells_what_it_found_and_what_to_type(run_of, capsys):
    found = {"train_loss": 0.5, "heldout_loss": 0.625, "best_heldout_loss": 0.5625}
    found |= {"knn": 41.0, "best_knn": 42.0, "rankme": 9.5}
    run = run_of(pretrain_config, **found, bad_samples=3, bad_steps=2.0)
    folder = run.start.folder
    folder.panel(0).parent.mkdir()
    tell_finished(run, summarise(run, 2, 6.0))
    told = capsys.readouterr().out
    named, commands = lines_of(told)
    assert named["finished:"] == "5 epochs, 10 steps, 240 images"
    assert named["loss"].startswith("0.5000, ")
    assert named["held-out"] == "loss 0.6250 (lowest 0.5625)"
    assert named["quality"] == "kNN 41.0 % (best 42.0 %), RankMe 9.5"
    assert named["time"] == "6.0 s in 2 lives (1 killed, not counted), 16 images/s"
    assert named["encoder"] == str(folder.encoder)
    assert named["pictures"] == str(folder.root / "panels")
    assert named["checkpoint"] == str(folder.last)
    assert "classifier" not in named
    assert str(folder.bad_samples) in told
    assert "2, whose loss or gradient was not finite" in told
    finetune, report, tensorboard = commands
    data = run.config.data
    assert finetune == [
        *("ssl-swin", "finetune", "--encoder", str(folder.root), "--data.shards", data.shards),
        *("--data.val-shards", data.val_shards, "--run-dir", str(folder.root.parent / "finetune")),
    ]
    assert report == ["ssl-swin", "report", str(folder.root)]
    assert tensorboard == ["tensorboard", "--logdir", str(folder.root)]


def test_a_finished_fine_tuning_tells_its_top1_and_how_to_predict(run_of, capsys):
    run = run_of(finetune_config, "my run", top1=81.5, best_top1=83.25, balanced_top1=79.0)
    folder = run.start.folder
    for file in (folder.classifier, folder.best):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    run.module.metrics["heldout_loss"] = 0.5
    tell_finished(run, summarise(run, 2, 6.0))
    named, (predict, evaluate, report, _) = lines_of(capsys.readouterr().out)
    held = "top-1 81.50 % (best 83.25 %), balanced 79.00 %, loss 0.5000"
    assert named["held-out"] == held
    assert (named["classifier"], named["best"]) == (str(folder.classifier), str(folder.best))
    root = str(folder.root)
    assert predict == ["ssl-swin", "predict", root, "NEW_IMAGES", "-o", "predictions.csv"]
    assert evaluate == ["ssl-swin", "evaluate", root, "--data", run.config.data.val_shards]
    assert report == ["ssl-swin", "report", root]


def test_labels_from_a_file_of_their_own_are_told_to_evaluate(run_of, capsys):
    run = run_of(finetune_config, "swin", top1=81.5)
    data = replace(run.config.data, labels="my labels.csv")
    run = replace(run, config=replace(run.config, data=data))
    tell_finished(run, summarise(run, 1, 1.0))
    _, (_, evaluate, *_) = lines_of(capsys.readouterr().out)
    assert evaluate[-2:] == ["--labels", "my labels.csv"]


def test_images_without_classes_are_not_fine_tuned_on(run_of, capsys, monkeypatch):
    monkeypatch.setattr(ending, "_is_labelled", lambda _: False)
    run = run_of(pretrain_config, "swin")
    tell_finished(run, summarise(run, 1, 1.0))
    _, (finetune, *_) = lines_of(capsys.readouterr().out)
    assert "LABELLED_SHARDS" in finetune
    assert finetune[-1].endswith("/swin-finetune")


def test_lines_are_no_wider_than_a_terminal_where_paths_allow(run_of, capsys):
    run = run_of(pretrain_config, train_loss=0.5, heldout_loss=0.5, best_heldout_loss=0.25)
    short = replace(run.start, folder=RunFolder(Path("runs/mine/pretrain")))
    data = replace(run.config.data, shards="shards/mine/train", val_shards="shards/mine/val")
    run = replace(run, start=short, config=replace(run.config, data=data))
    tell_finished(run, summarise(run, 1, 1.0))
    tell_stopped(run, "signal SIGTERM")
    told = capsys.readouterr().out.splitlines()
    assert max(map(len, told)) <= WIDTH
    assert any(line.endswith("\\") for line in told)


def test_a_stopped_run_tells_where_it_stands_and_what_is_saved(run_of, capsys):
    run = run_of(pretrain_config, train_loss=0.5)
    run.module.step = 8
    tell_stopped(run, "signal SIGUSR1")
    first, *table = capsys.readouterr().out.splitlines()
    named, _ = lines_of("\n".join(table))
    assert first == "stopped after step 8; the same command goes on from there"
    assert named["stands"] == "at step 8 of 10, epoch 4 of 5"
    assert named["why"] == "signal SIGUSR1"
    assert named["time"].endswith("16 images/s; 3.0 s left")
    assert named["saved"] == str(run.start.folder.last)


def test_only_rank_0_tells(run_of, capsys, monkeypatch):
    monkeypatch.setattr(ending, "is_rank_0", lambda: False)
    tell_stopped(run_of(pretrain_config), "signal SIGTERM")
    assert capsys.readouterr().out == ""


def test_a_reader_that_has_gone_changes_no_exit_status(tmp_path, tiny_shards, monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            if text.startswith("finished") or self.closed:
                raise BrokenPipeError
            return len(text)

    config = pretrain_config(tmp_path / "run", tiny_shards([30, 20]), checkpoint_every_steps=0)
    config = replace(config, optim=replace(config.optim, epochs=1, warmup_epochs=0))
    run = built(config)
    monkeypatch.setattr(sys, "stdout", Gone())
    assert train(run) == 0


def test_what_cannot_be_read_changes_no_exit_status(run_of, capsys, monkeypatch):
    def fail(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(ending, "spent", fail)
    tell_stopped(run_of(pretrain_config), "signal SIGTERM")
    assert "cannot be told: [Errno 5]" in capsys.readouterr().err
