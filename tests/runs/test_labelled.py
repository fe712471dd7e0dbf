from dataclasses import replace

import numpy as np
import pytest

from ssl_swin.config.data import SetConfig
from ssl_swin.runs.labelled import LabelledImages
from ssl_swin.runs.sizes import labels_of, open_sets
from tests.training.launch import finetune_config

BALANCED = {"class_weights": "balanced"}


@pytest.fixture
def config(tiny_shards, tmp_path):
    """13 images: of the classes 0, 1 and 2 two, of the others one."""
    return finetune_config(tmp_path / "run", tiny_shards([9, 4], mode="RGB"))


def images_of(config):
    return LabelledImages.of(config, open_sets(config.data), labels_of(config))


def test_no_label_is_read_unless_it_is_asked_for(config):
    images = images_of(config)
    assert images.places is None
    assert images.class_weights(config) == ()
    assert "classes" not in vars(images)


def test_weights_are_by_the_share_of_each_class(config):
    config = replace(config, finetune=replace(config.finetune, **BALANCED))
    weights = images_of(config).class_weights(config)
    assert weights == pytest.approx([13 / 20] * 3 + [13 / 10] * 7)


def test_weights_are_of_the_images_that_are_used(config):
    data = replace(config.data, num_labels=10)
    config = replace(config, data=data, finetune=replace(config.finetune, **BALANCED))
    assert images_of(config).class_weights(config) == pytest.approx([1] * 10)


def test_sets_count_by_their_weights(config, tiny_shards):
    one, other = tiny_shards([10], mode="RGB"), tiny_shards([2], mode="RGB")
    sets = (SetConfig(str(one), 3.0), SetConfig(str(other), 1.0))
    data = replace(config.data, shards=None, sets=sets)
    found = images_of(replace(config, data=data)).frequency
    np.testing.assert_allclose(found, [0.75 / 10 + 0.125] * 2 + [0.075] * 8)
