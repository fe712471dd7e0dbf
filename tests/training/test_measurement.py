from dataclasses import replace

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

    def fit(configure=finetune_config, metrics=(), **data):
        config = configure(tmp_path / "run", shards, global_batch_size=12)
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
    for name in ("heldout_loss", "top1", "top5", "best_top1"):
        assert module.metrics[name] == points[-1][f"heldout/{name}"]
    assert module.training


def test_the_best_top1_is_of_all_lives(measured):
    module, points = measured(metrics={"best_top1": 99.0})
    assert module.metrics["best_top1"] == 99.0 > module.metrics["top1"]
    assert [point["heldout/best_top1"] for point in points] == [99.0] * 3


def test_pretraining_has_no_top1(measured):
    _, points = measured(pretrain_config)
    names = {"step", "heldout/heldout_loss", "heldout/bad_samples"}
    assert [set(point) for point in points] == [names] * 3


def test_without_held_out_images_nothing_is_measured(measured):
    module, points = measured(val_shards=None)
    assert points == []
    assert module.metrics == {}
