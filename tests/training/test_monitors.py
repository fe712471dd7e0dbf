"""Features are looked at while a network learns: what is found, and that nothing else changes."""

import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_swin.data.order.lanes import Share
from ssl_swin.features.collapse import collapse_signs
from ssl_swin.features.neighbours import knn_scores
from ssl_swin.pretrained.open import find_weights
from ssl_swin.record.lines import read_lines
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs import sizes
from ssl_swin.training.loggers import MetricsFile
from ssl_swin.training.monitors import DUE, Monitors, looks_collapsed, quality_told
from ssl_swin.training.trainer import Hardware, make_trainer
from tests.training import looks
from tests.training.launch import finish, pretrain_config, start
from tests.training.test_elastic import points
from tests.training.test_interruption import assert_equal
from tests.training.test_preemption import ends
from tests.training.test_ranks import assert_same_end
from tests.training.tiny import built

SIGNS = {"rankme", "feature_std", "mean_cosine"}


@pytest.fixture
def watched(tiny_shards, tmp_path, monkeypatch):
    """Train four steps of two an epoch, with looks at 24 images; return the run and its points."""
    shards = tiny_shards([40, 9], broken={3, 45})
    monkeypatch.setattr(sizes, "MONITORED_SHARE", 1.0)
    monkeypatch.setattr(sizes, "FEWEST_MONITORED", 1)

    def fit(kind=Monitors, **data):
        config = pretrain_config(tmp_path / "run", shards, micro_batch_size=7)
        data = {"labelled_shards": str(shards), **data}
        run = built(replace(config, data=replace(config.data, **data)))
        run.datamodule.steps = 0, 4
        monitors = kind(run.monitored, 4, lambda _: None)
        trainer = make_trainer(
            Hardware("cpu"), [monitors], [MetricsFile(RunFolder(tmp_path), lambda: None)]
        )
        trainer.fit(run.module, datamodule=run.datamodule)
        return run, read_lines(tmp_path / "metrics.jsonl")

    return fit


def features_of(run, fixed):
    """Features of the images that can be decoded, all in one batch, and which these are."""
    batch = fixed.stream.read(Share(0, fixed.place))
    good = batch["replaced"] < 0
    run.module.eval()
    with torch.no_grad():
        return run.module.features_of_stages(batch["image"][good]), good


def test_signs_of_all_stages_and_what_neighbours_say_become_points(watched, capsys):
    run, found = watched()
    assert [point["step"] for point in found] == [2, 4]
    images, labelled = run.monitored.images, run.monitored.labelled
    assert (len(images), len(labelled)) == (24, 20)
    features, good = features_of(run, images)
    assert int((~good).sum()) == 1
    expected = {}
    for name, of_stage in features.items():
        ending = "" if name == "last" else f"_{name}"
        expected |= {f"quality/{k}{ending}": v for k, v in collapse_signs(of_stage).items()}
    features, good = features_of(run, labelled)
    label = torch.from_numpy(labelled.label)[good]
    said = knn_scores(features["last"], label, features["last"], 10, leave_one_out=True).argmax(1)
    expected["quality/knn"] = 100 * float((said == label).double().mean())
    point = {name: value for name, value in found[-1].items() if name != "step"}
    assert point == pytest.approx(expected, rel=1e-4)
    last = {name.removeprefix("quality/"): value for name, value in point.items()}
    assert last.items() <= run.module.metrics.items()
    assert run.module.metrics["best_knn"] == max(point["quality/knn"] for point in found)
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(f"quality, epoch 2: kNN {last['knn']:.1f} %")
    assert f"RankMe {last['rankme']:.1f} of 24" in line


def test_without_labels_there_is_no_knn_and_without_held_out_images_those_of_training(watched):
    run, found = watched(labelled_shards=None, val_shards=None)
    names = {f"quality/{sign}{ending}" for sign in SIGNS for ending in ("", "_stage1", "_stage2")}
    assert [set(point) - {"step"} for point in found] == [names] * 2
    stream = run.monitored.images.stream
    assert stream is not run.stream
    assert stream.shards is run.stream.shards
    assert type(stream.renderer.transform).__name__ == "EvaluationTransform"


def test_it_can_be_switched_off(tiny_shards, tmp_path):
    config = pretrain_config(tmp_path / "run", tiny_shards([30]), monitor_every_epochs=0)
    assert built(config).monitored is None


def state_of(module):
    return {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.random.get_state()[1].astype(np.int64)),  # noqa: NPY002
        "python": torch.tensor(random.getstate()[1]),
        "modes": torch.tensor([one.training for one in module.modules()]),
        "gradients": torch.tensor([one.grad is None for one in module.parameters()]),
        "weights": torch.cat([one.detach().flatten() for one in module.parameters()]),
    }


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_look_changes_nothing_that_training_goes_by(watched, num_workers):
    states = []

    class Around(Monitors):
        def _watch(self, trainer, module, may_stop):
            states.append(state_of(module))
            super()._watch(trainer, module, may_stop)
            states.append(state_of(module))

    watched(Around, num_workers=num_workers)
    assert len(states) == 4
    for before, after in (states[:2], states[2:]):
        assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_weights_and_curves_are_those_of_a_run_without(tmp_path, shards):
    """With drop path, which draws."""
    runs = {}
    for every in (0, 1):
        config = build(tmp_path / str(every), shards, monitor_every_epochs=every)
        assert finish(start(config, prepare=looks.look_every_epoch)) == {0}
        runs[every] = Path(config.run_dir)
    without, with_looks = (checkpoint_of(run) for run in runs.values())
    for part in ("model", "optimizer", "step"):
        assert_equal(without[part], with_looks[part], part)
    for name in ("train/loss", "train/grad_norm", "heldout/heldout_loss"):
        assert points(runs[0], name) == points(runs[1], name)
    assert not points(runs[0], "quality/rankme")
    assert len(points(runs[1], "heldout/heldout_loss")) == 2  # by which nothing is chosen unasked
    assert not (runs[1] / "checkpoints" / "best.ckpt").exists()
    assert list(points(runs[1], "quality/rankme")) == [8, 16]


def checkpoint_of(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def build(run_dir, shards, **training):
    """Two epochs of 8 steps, with drop path, a look after each, of images and of labels."""
    config = pretrain_config(run_dir, shards, panel_every_epochs=0)
    data = replace(config.data, labelled_shards=str(shards))
    model, optim = replace(config.model, drop_path_rate=0.1), replace(config.optim, epochs=2)
    training = replace(config.training, **training)
    return replace(config, data=data, model=model, optim=optim, training=training)


@pytest.mark.parametrize(
    ("devices", "num_workers", "strategy"),
    [
        (1, 0, "ddp"),
        (2, 2, "ddp"),
        pytest.param(2, 0, "ddp", marks=pytest.mark.slow),
        pytest.param(3, 2, "fsdp", marks=pytest.mark.slow),
    ],
)
def test_after_a_signal_in_a_look_no_step_is_taken_and_the_next_life_looks_first(
    tmp_path, shards, devices, num_workers, strategy
):
    straight, stopped = (
        build(tmp_path / name, shards, devices=devices, strategy=strategy, best="knn")
        for name in ("straight", "stopped")
    )
    straight, stopped = (
        replace(one, data=replace(one.data, num_workers=num_workers)) for one in (straight, stopped)
    )
    run = Path(stopped.run_dir)
    assert finish(start(stopped, prepare=looks.signal_in_a_look)) == {75}
    assert ends(run) == [("signal SIGUSR1", 75, 8)]
    assert not points(run, "quality/rankme")
    assert checkpoint_of(run)["metrics"][DUE] == 1
    assert finish(start(stopped, prepare=looks.look_every_epoch)) == {0}
    assert finish(start(straight, prepare=looks.look_every_epoch)) == {0}
    assert_same_end(Path(straight.run_dir), run)
    for name in ("quality/knn", "quality/rankme", "quality/rankme_stage1"):
        found = points(run, name)
        assert list(found) == [8, 16]
        assert found == points(Path(straight.run_dir), name)
    best = [
        torch.load(Path(one.run_dir, "checkpoints", "best.ckpt")) for one in (straight, stopped)
    ]
    assert_equal(best[0]["model"], best[1]["model"], "best")
    kept = find_weights(run / "encoders" / "best.safetensors").state
    for name, value in kept.items():
        assert torch.equal(value, best[1]["model"][f"network.encoder.{name}"])


def test_a_signal_is_heard_while_a_look_waits_for_its_images(tmp_path, shards):
    config = build(tmp_path / "run", shards)
    assert finish(start(config, prepare=looks.signal_while_a_look_waits)) == {75}
    assert ends(tmp_path / "run") == [("signal SIGUSR1", 75, 8)]
    assert checkpoint_of(tmp_path / "run")["metrics"][DUE] == 1


def test_a_collapse_is_warned_of_once(watched, capsys, monkeypatch):
    def constant(_, images):
        return {"last": torch.ones(len(images), 4), "stage1": torch.ones(len(images), 2)}

    monkeypatch.setattr("ssl_swin.training.pretrain.PretrainModule.features_of_stages", constant)
    _, found = watched()
    assert [point["quality/rankme"] for point in found] == pytest.approx([1, 1])
    warnings = [line for line in capsys.readouterr().out.splitlines() if "nearly the same" in line]
    assert len(warnings) == 1


def test_features_that_are_not_finite_have_no_numbers(watched, capsys, monkeypatch):
    def broken(_, images):
        return {"last": torch.full((len(images), 4), math.nan)}

    monkeypatch.setattr("ssl_swin.training.pretrain.PretrainModule.features_of_stages", broken)
    _, found = watched()
    assert found == []
    assert "quality, epoch 2: nothing finite" in capsys.readouterr().out


def test_a_collapse_is_told_by_either_sign():
    assert looks_collapsed({"rankme": 1.0, "mean_cosine": 0.5})
    assert looks_collapsed({"rankme": 9.0, "mean_cosine": 1.0})
    assert not looks_collapsed({"rankme": 9.0, "mean_cosine": 0.9})
    assert not looks_collapsed({})


def test_what_is_not_the_best_is_told_with_the_best():
    found = {"knn": 41.23, "best_knn": 43.0, "rankme": 35.14, "feature_std": 0.5}
    told = "kNN 41.2 % (best 43.0 %), RankMe 35.1 of 192, feature std 0.50"
    assert quality_told(found, 192) == told
    assert quality_told({"knn": 41.23, "best_knn": 41.23}) == "kNN 41.2 %"
