"""Of what a run keeps the best, and what becomes of it from life to life."""

import json
import shutil
from dataclasses import replace

import pytest

from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs import sizes
from ssl_swin.runs.best import best_is_elsewhere
from ssl_swin.runs.build import build
from ssl_swin.runs.resume import Start
from ssl_swin.training.checkpoint_file import read_checkpoint
from tests.training import looks
from tests.training.launch import finetune_config, finish, pretrain_config, start


@pytest.fixture
def config(tiny_shards, tmp_path):
    """A pretraining of two epochs that keeps the best kNN."""
    shards = tiny_shards([120, 83])
    one = pretrain_config(tmp_path / "run", shards, panel_every_epochs=0)
    data = replace(one.data, labelled_shards=str(shards))
    training = replace(one.training, best="knn")
    return replace(one, data=data, optim=replace(one.optim, epochs=2), training=training)


def test_the_best_look_is_kept_if_the_measurement_after_it_is_killed(config, tmp_path):
    folder = RunFolder(tmp_path / "run")
    prepare = looks.killed_in_the_measurement_after_a_look
    assert finish(start(config, prepare=prepare)) == {-9}
    assert finish(start(config, prepare=looks.best_is_first)) == {0}
    assert json.loads(folder.summary.read_text())["best_knn"] == 42.0
    assert read_checkpoint(folder.best)["step"] == 8
    assert folder.best_encoder.is_file()


def test_a_best_is_of_a_measure_and_its_images(config, tiny_shards, tmp_path):
    def of(**changes):
        data = {name: str(value) for name, value in changes.items() if name != "best"}
        best = changes.get("best", config.training.best)
        training, changed = replace(config.training, best=best), replace(config.data, **data)
        return build(replace(config, training=training, data=changed)).best_of

    others, tuned = tiny_shards([30, 20]), finetune_config(tmp_path / "tuned", tiny_shards([50]))
    found = [of(), of(labelled_shards=others), of(best="heldout_loss"), build(tuned).best_of]
    found.append(of(best="heldout_loss", val_shards=others))
    assert [one.split(" of ")[0] for one in found] == [
        *("best_knn", "best_knn", "best_heldout_loss", "best_top1", "best_heldout_loss"),
    ]
    assert len({*found}) == len(found)
    assert of(best="none") is None
    assert found[0] == of()


@pytest.mark.parametrize(
    ("kind", "state", "there", "elsewhere"),
    [
        ("pretrain", {"best_of": "a"}, True, False),
        ("pretrain", {"best_of": "b"}, True, True),
        ("pretrain", {"best_of": None}, True, True),
        ("pretrain", {}, True, True),  # an earlier release kept none
        ("finetune", {}, True, False),  # an earlier release kept the best top-1
        ("finetune", {"best_of": "b"}, True, True),
        ("finetune", {"best_of": "a"}, False, True),  # in the folder that was resumed from
    ],
)
def test_the_best_of_something_else_does_not_count(tmp_path, config, kind, state, there, elsewhere):
    folder = RunFolder(tmp_path / "run")
    if there:
        folder.last.parent.mkdir(parents=True)
        folder.last.touch()
    assert best_is_elsewhere(Start(folder, config, 2, {}, state), kind, "a") is elsewhere


def test_a_run_that_asks_for_the_best_later_begins_with_the_next(config, tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "MONITORED_SHARE", 1.0)  # as `look_every_epoch`
    monkeypatch.setattr(sizes, "FEWEST_MONITORED", 1)
    asked_later = replace(config, training=replace(config.training, best="none"))
    assert finish(start(asked_later, prepare=looks.look_every_epoch)) == {0}
    folder = RunFolder(tmp_path / "run")
    assert "best_knn" in read_checkpoint(folder.last)["metrics"]
    assert build(config).module.best is None
    assert build(asked_later).module.metrics["best_knn"] > 0
    shutil.rmtree(folder.root)
    assert finish(start(config, prepare=looks.look_every_epoch)) == {0}
    assert build(config).module.best == read_checkpoint(folder.last)["metrics"]["best_knn"]
