from dataclasses import replace
from itertools import accumulate

import pytest

from ssl_swin.record.lines import read_lines
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training.loggers import make_loggers
from ssl_swin.training.measurement import Measurement
from ssl_swin.training.trainer import Hardware, make_trainer
from tests.training.launch import finetune_config, pretrain_config
from tests.training.tiny import built


@pytest.fixture
def measured(tiny_shards, tmp_path):
    """Train four steps with a measurement every two; return the module and the points."""
    shards = tiny_shards([40, 9], broken={3, 45}, mode="RGB")

    def fit(configure=finetune_config, metrics=(), best="none", **data):
        config = configure(tmp_path / "run", shards, global_batch_size=12, best=best)
        run = built(replace(config, data=replace(config.data, **data)))
        run.module.metrics.update(metrics)
        run.datamodule.steps = 0, 4
        loggers = make_loggers(RunFolder(tmp_path), 0)
        trainer = make_trainer(Hardware("cpu"), [Measurement(2, 3, lambda *_: None)], loggers)
        trainer.fit(run.module, datamodule=run.datamodule)
        return run.module, read_lines(tmp_path / "metrics.jsonl")

    return fit


def test_it_measures_when_due_and_at_the_end_and_warns_once(measured, capsys):
    module, points = measured()
    assert [point["step"] for point in points] == [2, 3, 4]
    told = [line for line in capsys.readouterr().out.splitlines() if "held-out images" in line]
    assert len(told) == 1
    assert "2 held-out images cannot be decoded and are left out" in told[0]
    for point in points:
        assert point["heldout/bad_samples"] == 2
        assert 0 <= point["heldout/top1"] <= point["heldout/top5"] <= 100
    for name in ("heldout_loss", "top1", "top5", "balanced_top1", "best_top1"):
        assert module.metrics[name] == points[-1][f"heldout/{name}"]
    lowest = min(point["heldout/heldout_loss"] for point in points)
    assert module.metrics["best_heldout_loss"] == lowest
    assert module.training


def test_each_measurement_is_a_line_with_the_best_so_far(measured, capsys):
    _, points = measured()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("held-out,")]
    assert len(lines) == len(points)
    for line, point in zip(lines, points, strict=True):
        assert f"top-1 {point['heldout/top1']:.2f} %" in line
        assert f"balanced {point['heldout/balanced_top1']:.2f} %" in line
        assert f"loss {point['heldout/heldout_loss']:.4f}" in line


def test_the_lowest_loss_is_of_all_lives_also_of_those_that_did_not_keep_it(measured):
    module, _ = measured(pretrain_config, metrics={"heldout_loss": 1e-3})
    assert module.metrics["best_heldout_loss"] == 1e-3


def test_the_best_top1_is_of_all_lives(measured):
    module, points = measured(metrics={"best_top1": 99.0})
    assert module.metrics["best_top1"] == 99.0 > module.metrics["top1"]
    assert [point["heldout/best_top1"] for point in points] == [99.0] * 3


@pytest.mark.parametrize(
    ("best", "name"), [("balanced_top1", "balanced_top1"), ("auroc", "auroc"), ("none", "top1")]
)
def test_the_best_is_by_what_is_asked_for(measured, best, name):
    module, points = measured(best=best, metrics={"best_top1": 0.0})
    found = [point[f"heldout/{name}"] for point in points]
    assert [point[f"heldout/best_{name}"] for point in points] == [*accumulate(found, max)]
    assert module.best == max(found)
    assert all("heldout/best_top1" in point for point in points)
    assert ("heldout/auroc" in points[0]) == (best == "auroc")


@pytest.mark.parametrize("before", [{}, {"best_auroc": 0.25}])
def test_what_is_not_defined_is_no_best_and_is_warned_of_once(
    measured, tiny_shards, before, capsys
):
    val_shards = str(tiny_shards([1], mode="RGB"))  # of one class
    module, points = measured(best="auroc", metrics=before, val_shards=val_shards)
    assert module.best == before.get("best_auroc")
    assert len(points) == 3
    assert not [name for point in points for name in point if "auroc" in name]
    told = capsys.readouterr().out
    assert told.count("warning: the held-out images have no AUROC, as when all have one label") == 1


def test_pretraining_has_no_top1(measured):
    _, points = measured(pretrain_config)
    names = {"step", "heldout/heldout_loss", "heldout/bad_samples"}
    assert [set(point) for point in points] == [names] * 3


def test_without_held_out_images_nothing_is_measured(measured):
    module, points = measured(val_shards=None)
    assert points == []
    assert module.metrics == {}
