from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_swin import signals
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.evaluation.drawing import WRONG
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training import heldout_pictures
from ssl_swin.training.heldout_pictures import HeldoutPictures
from ssl_swin.training.loggers import make_loggers
from ssl_swin.training.measurement import Measurement
from ssl_swin.training.trainer import Hardware, make_trainer
from tests.training.launch import finetune_config
from tests.training.tiny import built

KINDS = ["accuracy_of_classes", "confusion", "mistakes"]


@pytest.fixture
def fit(tmp_path, tiny_shards):
    """Fine-tune for three steps with a measurement after each; return what there is then."""
    config = finetune_config(tmp_path / "run", tiny_shards([40, 9], broken={45}, mode="RGB"))
    run, folder = built(config), RunFolder(tmp_path)
    run.datamodule.steps = 0, 3

    def fit(metrics=()):
        run.module.metrics.update(metrics)
        pictures = HeldoutPictures(folder, run.datamodule.heldout.stream, run.start.classes)
        measurement = Measurement(1, 3, lambda *_: None, pictures)
        trainer = make_trainer(Hardware("cpu"), [measurement], make_loggers(folder, 0))
        trainer.fit(run.module, datamodule=run.datamodule)
        return SimpleNamespace(folder=folder, module=run.module, run=run)

    yield fit
    signals.forget()


def drawn(folder, which):
    return [kind for kind in KINDS if folder.heldout_picture(which, kind).is_file()]


def test_the_last_measurement_is_drawn_and_the_best(fit):
    seen = fit()
    for which in ("best", "last"):
        assert drawn(seen.folder, which) == KINDS
        for kind in KINDS:
            with Image.open(seen.folder.heldout_picture(which, kind)) as image:
                assert image.width > 500


def test_what_is_not_the_best_is_drawn_at_the_end_alone(fit):
    seen = fit({"best_top1": 100.0})
    assert drawn(seen.folder, "best") == []
    assert drawn(seen.folder, "last") == KINDS


@pytest.fixture
def drawing(monkeypatch):
    """The steps whose pictures are drawn."""
    steps, draw = [], HeldoutPictures._draw

    def note(self, trainer, seen, names):
        steps.append((trainer.lightning_module.step, seen.step))
        draw(self, trainer, seen, names)

    monkeypatch.setattr(HeldoutPictures, "_draw", note)
    return steps


def test_after_a_signal_nothing_is_drawn_before_the_end(fit, drawing):
    signals._received.append(15)
    fit()
    assert {now for now, _ in drawing} == {3}
    assert drawing[-1] == (3, 3)


def test_pictures_take_a_small_share_of_the_time_but_for_the_end(fit, drawing, monkeypatch):
    monkeypatch.setattr(heldout_pictures, "MOST_SHARE", 0.0)
    fit()
    assert [now for now, _ in drawing] in ([1, 3], [1, 3, 3])  # the best of 2 and 3, and the last
    assert (drawing[0], drawing[-1]) == ((1, 1), (3, 3))


def test_no_number_depends_on_the_pictures(fit, tmp_path, tiny_shards):
    with_pictures = fit().module
    config = finetune_config(tmp_path / "other", tiny_shards([40, 9], broken={45}, mode="RGB"))
    run = built(config)
    run.datamodule.steps = 0, 3
    trainer = make_trainer(Hardware("cpu"), [Measurement(1, 3, lambda *_: None)], [])
    trainer.fit(run.module, datamodule=run.datamodule)
    assert run.module.metrics == with_pictures.metrics
    for name, value in run.module.state_dict().items():
        assert torch.equal(value, with_pictures.state_dict()[name])


class Failing(ShardReader):
    """Every second image cannot be had."""

    num = 0

    def read(self, shard, row):
        Failing.num += 1
        if Failing.num % 2:
            raise OSError("away")
        return super().read(shard, row)


def test_an_image_that_is_gone_is_left_out(fit, monkeypatch):
    monkeypatch.setattr(heldout_pictures, "ShardReader", Failing)
    seen = fit({"best_top1": 100.0})
    with Image.open(seen.folder.heldout_picture("last", "mistakes")) as image:
        assert (np.asarray(image) == WRONG).all(axis=2).any()  # the others are there
    assert Failing.num > 2
