from dataclasses import replace

import numpy as np
import pytest

from ssl_swin.command_line import read_config
from ssl_swin.data.order.lanes import Dealing
from ssl_swin.data.order.open import open_order
from ssl_swin.recipe.choose import Wishes, choose, expected_hours, steps_of, told_time
from ssl_swin.recipe.machine import GB, Machine, gpu_of
from ssl_swin.recipe.measure import config_of
from tests.recipe.machines import CLUSTER, LAPTOP, LARGE_GPU, MACHINES, OLD_GPUS, SMALL_GPU, images

PLAIN = Wishes("runs/mine/pretrain")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("side", [28, 64, 192])
@pytest.mark.parametrize("num", [24, 999, 3_000, 60_000, 1_281_167])
def test_choices_are_a_config_whose_batches_all_processes_share(machine, side, num):
    choices = choose(images(num, side), machine, "shards/mine", PLAIN)
    config = config_of(choices)
    training = config.training
    processes = training.devices * training.num_nodes
    assert training.global_batch_size % processes == 0
    assert training.micro_batch_size * processes <= training.global_batch_size
    order = open_order((np.array([num]),), Dealing(0, training.global_batch_size))
    assert order.num_lanes >= processes
    assert order.steps_per_epoch >= 1
    assert steps_of(choices, images(num)) == config.optim.epochs * order.steps_per_epoch
    assert all(choice.why for choice in choices.values())


@pytest.mark.parametrize("machine", MACHINES)
def test_what_was_measured_changes_nothing_where_no_time_is_given(machine):
    fast = Wishes("runs/mine/pretrain", images_per_s=1e4)
    assert choose(images(), machine, "x", PLAIN) == choose(images(), machine, "x", fast)


@pytest.mark.parametrize("hours", [0.1, 1.0, 6.0])
def test_a_time_that_is_given_is_kept(hours):
    wishes = Wishes("runs/mine/pretrain", hours, images_per_s=200.0)
    choices = choose(images(), LAPTOP, "x", wishes)
    assert 0.75 * hours < expected_hours(choices, images(), 200.0) <= hours
    endless = choose(images(), LAPTOP, "x", replace(wishes, hours=1e4))
    assert endless["optim.epochs"].value == 1600


def test_a_cpu_gets_about_a_quarter_of_an_hour_and_not_fewer_than_five_epochs():
    def epochs(num):
        return choose(images(num), LAPTOP, "x", PLAIN)["optim.epochs"].value

    assert 20 < epochs(3_000) < 50
    assert epochs(10**6) == 5
    assert epochs(40) == 400


def test_the_paper_is_followed_where_its_images_are():
    config = config_of(choose(images(1_281_167, 400), CLUSTER, "x", PLAIN))
    assert config.model.name == "swin_base_patch4_window7_224"
    assert (config.model.img_size, config.model.window_size) == (192, 6)
    assert (config.mask.mask_patch_size, config.mask.mask_ratio) == (32, 0.6)
    assert (config.training.global_batch_size, config.training.num_nodes) == (2048, 2)
    assert (config.optim.base_lr, config.optim.epochs) == (2e-4, 100)


def test_no_more_is_put_through_a_gpu_at_once_than_fits():
    def micro(machine, **wishes):
        choices = choose(images(10**6), machine, "x", Wishes("runs", **wishes))
        return choices["training.micro_batch_size"].value

    assert micro(LARGE_GPU, fits=8) == 8
    assert micro(LARGE_GPU, fits=4096) == micro(LARGE_GPU) > 8


def test_precision_is_what_the_gpus_have():
    def precision(machine):
        return choose(images(), machine, "x", PLAIN)["training.precision"].value

    assert [precision(one) for one in (LAPTOP, OLD_GPUS, LARGE_GPU)] == ["fp32", "fp16", "bf16"]


def test_black_and_white_are_set_where_the_usual_ones_do_not_fit():
    assert "data.white" not in choose(images(), LAPTOP, "x", PLAIN)
    deep = images(chans=1, black=-1000.0, white=2000.0)
    config = config_of(choose(deep, LAPTOP, "x", PLAIN))
    assert (config.data.black, config.data.white) == (-1000, 2000)
    assert len(config.data.mean) == 1


@pytest.mark.parametrize(
    ("name", "num", "machine"),
    [
        ("photographs_cpu", 3_000, LAPTOP),
        ("swin_tiny_1gpu", 50_000, SMALL_GPU),
        ("swin_small_1gpu", 150_000, Machine("gpu", 8, 64 * GB, (gpu_of("rtx_16gb"),))),
        ("swin_base_1gpu", 300_000, Machine("gpu", 16, 128 * GB, (gpu_of("a100_40gb"),))),
    ],
)
def test_the_ready_configs_are_what_would_be_chosen(name, num, machine):
    ready, _ = read_config("pretrain", [f"configs/pretrain/{name}.yaml"])
    chosen = config_of(choose(images(num), machine, "shards/mine/train", PLAIN))
    assert (ready.model, ready.mask, ready.optim) == (chosen.model, chosen.mask, chosen.optim)
    for own in ("global_batch_size", "micro_batch_size", "precision", "validate_every_epochs"):
        assert getattr(ready.training, own) == getattr(chosen.training, own), own
    for what in ("panel", "monitor"):
        name = f"{what}_every_epochs"
        assert getattr(ready.training, name) == getattr(chosen.training, name)
    assert ready.data.crop_scale == chosen.data.crop_scale


@pytest.mark.parametrize(
    ("hours", "text"),
    [(0.001, "1 minute"), (0.2, "12 minutes"), (1.6, "1.6 hours"), (72, "3.0 days")],
)
def test_times_are_told_as_people_do(hours, text):
    assert told_time(hours) == text
