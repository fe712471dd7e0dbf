from dataclasses import replace

import pytest

from ssl_swin.runs.build import build
from tests.training.launch import finetune_config


@pytest.fixture
def config(tiny_shards, tmp_path):
    return finetune_config(tmp_path / "run", tiny_shards([60], mode="RGB"))


def tuned(config, **finetune):
    return build(replace(config, finetune=replace(config.finetune, **finetune))).module


def test_by_default_the_loss_is_the_plain_one(config):
    loss = tuned(config).class_loss
    assert (loss.weights, loss.gamma) == (None, 0.0)


def test_gamma_is_that_of_the_focal_loss_alone(config):
    assert tuned(config, focal_gamma=3.0).class_loss.gamma == 0.0
    assert tuned(config, focal_gamma=3.0, loss="focal").class_loss.gamma == 3.0


def test_weights_are_float64_where_all_is(config):
    training = replace(config.training, precision="fp64")
    weights = tuned(replace(config, training=training), class_weights="balanced").class_loss.weights
    assert weights.tolist() == [1.0] * 10
    assert str(weights.dtype) == "torch.float64"
