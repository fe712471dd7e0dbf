import signal
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from ssl_swin.data.batches.batch import collate
from ssl_swin.data.order.shares import EvaluationShares
from ssl_swin.evaluation.heldout import measure
from ssl_swin.pretrained.classifier import open_classifier
from ssl_swin.pretrained.open import find_weights
from ssl_swin.pretrained.unfinished import read_unfinished
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import read_summary
from ssl_swin.runs.build import build
from ssl_swin.runs.sizes import count_checkpoint_bytes
from ssl_swin.training.average import WeightAverage
from tests.training.launch import TRAINING, finetune_config, finish, start, train
from tests.training.stops import warned_and_killed_in_validation
from tests.training.test_interruption import assert_equal, checkpoint
from tests.training.tiny import built, fit, learner

YES, NO = torch.tensor(True), torch.tensor(False)


@pytest.fixture
def parameters():
    torch.manual_seed(0)
    return {name: nn.Parameter(torch.randn(3, dtype=torch.float64)) for name in "ab"}


def test_it_goes_part_of_the_way_to_the_weights(parameters):
    average, before = WeightAverage(parameters, 0.9), parameters["a"].detach().clone()
    with torch.no_grad():
        parameters["a"] += 1.0
    average.update(1000, YES)
    torch.testing.assert_close(average.weights["a"], before + 0.1)
    assert torch.equal(average.weights["b"], parameters["b"])  # to the bit


def test_early_it_goes_a_longer_way(parameters):
    average = WeightAverage(parameters, 0.9)
    assert average.decay_after(1) == 2 / 11
    assert [average.decay_after(step) for step in (80, 81, 10**6)] == [0.9] * 3
    assert average.decay_after(79) < 0.9


def test_a_step_that_is_not_finite_leaves_it(parameters):
    average = WeightAverage(parameters, 0.5)
    with torch.no_grad():
        parameters["a"] += 1.0
    before = average.weights["a"].clone()
    average.update(5, NO)
    assert torch.equal(average.weights["a"], before)


def test_it_asks_the_device_for_no_number(parameters):
    average = WeightAverage(
        {name: nn.Parameter(one.to("meta")) for name, one in parameters.items()}, 0.5
    )
    average.update(5, YES.to("meta"))  # a device without memory answers no question
    assert average.weights["a"].is_meta


def test_exchanged_twice_all_is_as_before(parameters):
    average = WeightAverage(parameters, 0.5, {"a": torch.zeros(3, dtype=torch.float64)})
    weight = parameters["a"].detach().clone()
    average.exchange()
    assert torch.equal(parameters["a"], torch.zeros(3, dtype=torch.float64))
    assert torch.equal(average.weights["a"], weight)
    average.exchange()
    assert torch.equal(parameters["a"], weight)
    assert torch.equal(average.weights["b"], parameters["b"])


def test_each_step_updates_it_once_and_no_number_of_the_training_moves():
    plain, averaged = learner(), learner()
    averaged.ema_decay = 0.5
    fit(plain, 1)
    expected = {name: one.detach().clone() for name, one in plain.named_parameters()}
    start_of = {name: one.detach().clone() for name, one in learner().named_parameters()}
    fit(averaged, 1)
    for name, found in averaged.average.weights.items():
        assert torch.equal(averaged.get_parameter(name), expected[name])
        way = 1 - 2 / 11
        torch.testing.assert_close(found, start_of[name] * (1 - way) + expected[name] * way)
    assert not hasattr(plain.average, "weights")


def config_of(run_dir, shards, **training):
    config = finetune_config(run_dir, shards, ema_decay=0.9, **training)
    return replace(config, optim=replace(config.optim, epochs=2))


@pytest.fixture(scope="module")
def straight(tmp_path_factory, shards):
    return train(config_of(tmp_path_factory.mktemp("average") / "run", shards))


def test_what_is_handed_off_is_the_average(straight):
    state, folder = checkpoint(straight), RunFolder(straight)
    weights, average = state["model"], state["model_ema"]
    assert weights.keys() == average.keys()
    assert not torch.equal(weights["network.head.weight"], average["network.head.weight"])
    for source in (folder.encoder, folder.last):  # of a checkpoint, too
        for name, value in find_weights(source).state.items():
            assert torch.equal(value, average[f"network.encoder.{name}"]), source
    card = open_classifier(folder.classifier).card
    assert find_weights(folder.encoder).card.ema_decay == card.ema_decay == 0.9
    assert read_summary(folder).ema_decay == 0.9


def test_what_is_measured_is_what_is_handed_off(straight, shards):
    run = built(config_of(straight, shards))
    network = run.module.network
    network.load_state_dict(open_classifier(straight).classifier.state_dict())
    heldout = run.datamodule.heldout
    shares = EvaluationShares(np.arange(len(heldout.stream)), heldout.batch_size, 0, 1)
    loader = DataLoader(heldout.stream, batch_sampler=shares, collate_fn=collate)
    means, summary = measure(run.module, loader).means(), read_summary(RunFolder(straight))
    assert (means["heldout_loss"], means["top1"]) == (summary.heldout_loss, summary.top1)


def test_killed_while_it_is_measured_nothing_is_lost(straight, tmp_path, shards):
    run = tmp_path / "run"
    config = config_of(run, shards, checkpoint_every_steps=0)
    stop = partial(warned_and_killed_in_validation, run)
    assert finish(start(config, prepare=stop)) == {-signal.SIGKILL}
    assert checkpoint(run)["step"] == 8
    for name, value in read_unfinished(run).state.items():
        assert torch.equal(value, checkpoint(run)["model_ema"][f"network.encoder.{name}"])
    assert finish(start(config)) == {0}
    for name in ("last", "best"):
        for part in ("model", "model_ema", "optimizer", "step", "metrics"):
            assert_equal(checkpoint(straight, name)[part], checkpoint(run, name)[part], part)


def test_an_average_begins_where_a_run_is_changed_on_purpose(straight, tmp_path, shards):
    last = RunFolder(straight).last
    plain = replace(config_of(tmp_path / "plain", shards), training=replace(TRAINING))
    given = {"encoder", "training.ema_decay"}
    assert build(plain, last, given).module.average_state is None
    other = config_of(tmp_path / "other", shards)
    other = replace(other, training=replace(other.training, ema_decay=0.5))
    module = build(other, last, given).module
    assert module.average_state.keys() == module.state_dict().keys()


def test_the_checkpoint_is_as_large_as_counted(straight, shards):
    config = config_of(straight, shards)
    counted, plain = (
        count_checkpoint_bytes(replace(config, training=replace(config.training, ema_decay=decay)))
        for decay in (0.9, None)
    )
    state = checkpoint(straight)
    trained = sum(one["exp_avg"].nbytes for one in state["optimizer"]["state"].values())
    assert counted - plain == trained
    assert counted <= RunFolder(straight).last.stat().st_size < counted + 200_000
