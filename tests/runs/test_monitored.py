from dataclasses import replace

import numpy as np
import pytest

from ssl_swin.errors import UserError
from ssl_swin.runs import sizes
from ssl_swin.runs.build import build
from tests.data.shards.tars import image_bytes, write_tar
from tests.training.launch import finetune_config, pretrain_config


@pytest.fixture
def monitored(tiny_shards, tmp_path, monkeypatch):
    """Build a run on 49 images that is held out 60 and given labels of 70."""
    train, heldout, labelled = tiny_shards([49]), tiny_shards([60]), tiny_shards([30, 40])
    monkeypatch.setattr(sizes, "FEWEST_MONITORED", 24)

    def build_with(configure=pretrain_config, seed=0, **data):
        config = configure(tmp_path / "run", train)
        data = {"val_shards": str(heldout), "labelled_shards": str(labelled), **data}
        config = replace(config, seed=seed, data=replace(config.data, **data))
        return build(config)

    return build_with


def test_held_out_images_are_looked_at_spread_over_their_set(monitored):
    run = monitored()
    images = run.monitored.images
    assert images.stream is run.datamodule.heldout.stream
    assert images.place[[0, -1]].tolist() == [0, 59]
    assert set(np.diff(images.place)) <= {2, 3}
    assert run.monitored.every_steps % run.sizes.steps_per_epoch == 0


def test_labelled_images_are_drawn_by_seed_as_many_of_each_class(monitored):
    found, again, other = (monitored(seed=seed).monitored.labelled for seed in (0, 0, 1))
    assert found.place.tolist() == again.place.tolist() != other.place.tolist()
    assert found.label.tolist() == (found.place % 10).tolist()  # sample i is of class i % 10
    assert len(set(np.bincount(found.label)[found.label].tolist())) == 1


def test_no_fine_tuning_is_watched(monitored):
    channels = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "labelled_shards": None}
    assert monitored(finetune_config, **channels).monitored is None


def test_labels_that_no_two_images_share_are_refused(monitored, tmp_path):
    (tmp_path / "few").mkdir()
    images = [(f"{number}.png", image_bytes(number)) for number in range(3)]
    write_tar(tmp_path / "few" / "a.tar", [*images[:2], ("1.cls", b"7"), images[2]])
    with pytest.raises(UserError, match=r"few holds no class with two images, of 3; give"):
        monitored(labelled_shards=str(tmp_path / "few"))
