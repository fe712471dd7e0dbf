from dataclasses import replace

import numpy as np
import pytest

from ssl_swin.config.data import SetConfig
from ssl_swin.runs.build import build
from ssl_swin.runs.labelled import LabelledImages, sampling_told
from ssl_swin.runs.sizes import labels_of, open_sets
from tests.training.launch import finetune_config

BALANCED = {"class_weights": "balanced"}
NAMES = tuple(map(str, range(10)))


@pytest.fixture
def config(tiny_shards, tmp_path):
    """13 images: of the classes 0, 1 and 2 two, of the others one."""
    return finetune_config(tmp_path / "run", tiny_shards([9, 4], mode="RGB"))


def images_of(config):
    return LabelledImages.of(config, open_sets(config.data), labels_of(config))


def test_no_label_is_read_unless_it_is_asked_for(config):
    images = images_of(config)
    assert images.places is None
    assert images.class_weights(config, NAMES) == ()
    given = replace(config.finetune, class_weights={"3": 2.0})
    found = images.class_weights(replace(config, finetune=given), NAMES)
    assert found == (1.0,) * 3 + (2.0,) + (1.0,) * 6
    assert "classes" not in vars(images)


def test_weights_are_by_the_share_of_each_class(config):
    config = replace(config, finetune=replace(config.finetune, **BALANCED))
    weights = images_of(config).class_weights(config, NAMES)
    assert weights == pytest.approx([13 / 20] * 3 + [13 / 10] * 7)


def test_weights_are_of_the_images_that_are_used(config):
    data = replace(config.data, num_labels=10)
    config = replace(config, data=data, finetune=replace(config.finetune, **BALANCED))
    assert images_of(config).class_weights(config, NAMES) == pytest.approx([1] * 10)


def test_sets_count_by_their_weights(config, tiny_shards):
    one, other = tiny_shards([10], mode="RGB"), tiny_shards([2], mode="RGB")
    sets = (SetConfig(str(one), 3.0), SetConfig(str(other), 1.0))
    data = replace(config.data, shards=None, sets=sets)
    found = images_of(replace(config, data=data)).frequency
    np.testing.assert_allclose(found, [0.75 / 10 + 0.125] * 2 + [0.075] * 8)


def test_what_is_drawn_by_class_says_how_often_each_image_is_seen(config, tiny_shards, capsys):
    shards = str(tiny_shards([31], mode="RGB"))  # 4 images of class 0, 3 of each other
    data = replace(config.data, shards=shards, val_shards=None, num_lanes=None, sampling="balanced")
    config = replace(config, data=data, training=replace(config.training, global_batch_size=15))
    order = build(config).order
    assert (order.steps_per_epoch, order.num_samples) == (2, 31)
    assert capsys.readouterr().out.count(
        "classes are drawn alike: in an epoch each of 10 has 3 places, so an image of '0' "
        "(4 images) 0.75 times, of '1' (3 images) 1 times\n"
    )
    uniform = build(replace(config, data=replace(data, sampling="uniform"))).order
    assert sampling_told(uniform, []) is None


@pytest.mark.parametrize("num_labels", [None, 6])
def test_images_without_a_label_are_neither_drawn_nor_weighed(config, tmp_path, num_labels):
    """Of 13 images 8 have a label, 5 of them of the first class."""
    labels = tmp_path / "labels.csv"
    rows = [*((number, "ant") for number in range(5)), (7, "bee"), (8, "bee"), (12, "bee")]
    labels.write_text("key,label\n" + "".join(f"{key:06d},{name}\n" for key, name in rows))
    data = replace(config.data, labels=str(labels), val_shards=None, num_lanes=None)
    data = replace(data, sampling="balanced", num_labels=num_labels)
    training = replace(config.training, global_batch_size=4)
    config = replace(config, data=data, num_classes=2, training=training)
    order = build(config).order
    drawn = np.concatenate([order.share(step).index for step in range(12)])
    assert {*drawn.tolist()} <= {0, 1, 2, 3, 4, 7, 8, 12}
    assert (drawn < 5).sum() * 2 == len(drawn)
    data = replace(data, sampling="uniform")
    config = replace(config, data=data, finetune=replace(config.finetune, **BALANCED))
    weights = build(config).module.class_loss.weights.tolist()
    assert weights == pytest.approx([8 / 10, 8 / 6] if num_labels is None else [1.0, 1.0])
