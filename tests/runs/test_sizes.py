import subprocess
import sys
from dataclasses import replace

import pytest

from ssl_swin.command_line import read_config
from ssl_swin.config.data import DataConfig, LabelledDataConfig, SetConfig
from ssl_swin.config.model import MaskConfig, ModelConfig
from ssl_swin.config.optim import FinetuneOptimConfig, OptimConfig
from ssl_swin.config.run import FinetuneConfig, PretrainConfig
from ssl_swin.config.training import TrainingConfig
from ssl_swin.errors import UserError
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs.network import build_network, checkpoint_bytes
from ssl_swin.runs.sizes import (
    FEWEST_MONITORED,
    MONITORED_SHARE,
    MOST_MONITORED,
    Sizes,
    count_checkpoint_bytes,
    count_steps,
    disk_needs,
    open_set,
    open_sets,
    order_of,
    plan_monitors,
)
from ssl_swin.training.checkpoint_file import read_checkpoint

GREY = {"mean": (0.5,), "std": (0.5,)}
TINY = ModelConfig(
    "swin_tiny_patch4_window7_224", 32, 4, 4, embed_dim=16, depths=(1, 1), num_heads=(1, 2)
)
TRAINING = TrainingConfig(global_batch_size=8, micro_batch_size=3)


def pretrain(shards, **data):
    return PretrainConfig(
        "run",
        DataConfig(shards, **GREY, **data),
        model=TINY,
        mask=MaskConfig(mask_patch_size=8),
        optim=OptimConfig(epochs=5, warmup_epochs=1),
        training=TRAINING,
    )


def finetune(shards, **data):
    return FinetuneConfig(
        "run",
        LabelledDataConfig(shards, rand_augment="", **GREY, **data),
        num_classes=10,
        model=TINY,
        optim=FinetuneOptimConfig(epochs=5, warmup_epochs=1),
        training=TRAINING,
    )


def sizes(config, world_size=1):
    return count_steps(config, order_of(config, open_sets(config.data)), world_size)


@pytest.fixture(scope="module")
def shards(tiny_shards):
    return str(tiny_shards([9, 10]))


def test_images_become_steps_by_plain_arithmetic(shards):
    assert sizes(pretrain(shards)) == Sizes(19, 8, (8,), 3, 8, 2, 10)
    assert sizes(pretrain(shards), 2) == Sizes(19, 8, (4, 4), 2, 8, 2, 10)
    assert sizes(pretrain(shards, num_lanes=4), 3) == Sizes(19, 4, (2, 2, 4), 2, 8, 2, 10)


@pytest.mark.parametrize("world_size", range(1, 9))
def test_the_shares_of_all_processes_are_the_global_batch(shards, world_size):
    found = sizes(pretrain(shards), world_size)
    assert sum(found.shares) == found.global_batch_size
    assert max(found.shares) <= found.num_micro_batches * 3 < max(found.shares) + 3


def test_more_processes_than_lanes_are_refused(shards):
    with pytest.raises(ValueError, match="9 processes cannot share"):
        sizes(pretrain(shards), 9)


def test_a_mixture_has_the_epoch_that_the_config_says(tiny_shards, shards):
    sets = (SetConfig(shards, 1.0), SetConfig(str(tiny_shards([30])), 3.0))
    config = replace(pretrain("x"), data=DataConfig(sets=sets, samples_per_epoch=100, **GREY))
    assert [one.num_samples for one in open_sets(config.data)] == [19, 30]
    found = sizes(config)
    assert (found.steps_per_epoch, found.stop_step) == (12, 60)


def test_few_labels_are_counted_before_they_are_drawn(shards):
    assert sizes(finetune(shards)).num_images == 19
    assert sizes(finetune(shards, num_labels=10)) == Sizes(10, 8, (8,), 3, 8, 1, 5)


def test_an_index_that_is_missing_may_be_refused(tiny_shards):
    config = pretrain(str(tiny_shards([9])))
    with pytest.raises(ValueError, match="ssl-swin shards index"):
        open_sets(config.data, index_missing=False)
    assert open_set(config.data, config.data.shards).num_samples == 9
    open_sets(config.data, index_missing=False)


def test_the_published_network_has_the_published_size():
    num_bytes = count_checkpoint_bytes(PretrainConfig("run", DataConfig("x")))
    swin_b = 86_743_224  # timm's, without its head
    tables = 2 * 32 * (13**2 - 11**2)  # the last stage of 192 pixels has a window of 6, not 7
    decoder, mask_token = (1024 + 1) * 3 * 32**2, 128
    assert num_bytes == 12 * (swin_b - tables + decoder + mask_token)


def test_a_checkpoint_is_as_large_as_is_counted(two_step_run):
    _, folder = two_step_run
    path = folder / "checkpoints" / "last.ckpt"
    state = read_checkpoint(path)
    network = [value for name, value in state["model"].items() if name.startswith("network.")]
    of_each = state["optimizer"]["state"].values()
    moments = [one[name] for one in of_each for name in ("exp_avg", "exp_avg_sq")]
    config, _ = read_config("pretrain", [str(folder / "config.yaml")])
    counted = count_checkpoint_bytes(config)
    assert counted == sum(one.nbytes for one in [*network, *moments])
    assert 0 < path.stat().st_size - counted < 1e5  # names, config, few numbers


def test_what_is_counted_without_memory_is_what_a_life_counts(shards):
    for config in (pretrain(shards), finetune(shards)):
        assert count_checkpoint_bytes(config) == checkpoint_bytes(build_network(config), config)


def test_a_run_that_goes_on_has_some_of_its_checkpoints(shards, tmp_path):
    config = replace(finetune(shards), run_dir=str(tmp_path))
    assert disk_needs(config, sizes(config), 9) == (4, 9, "counted from the network")
    last = RunFolder(tmp_path).last
    last.parent.mkdir()
    last.write_bytes(b"12345")
    assert disk_needs(config, sizes(config), 9) == (3, 5, "the size of the last one")
    kept = replace(config, training=replace(TRAINING, keep_every_epochs=2))
    assert disk_needs(kept, sizes(kept), 9).num_files == 3 + 2  # of 5 epochs


def test_float64_takes_twice_as_much(shards):
    config = pretrain(shards)
    double = replace(config, training=replace(TRAINING, precision="fp64"))
    bf16 = replace(config, training=replace(TRAINING, precision="bf16"))
    once = count_checkpoint_bytes(config)
    assert count_checkpoint_bytes(double) == 2 * once
    assert count_checkpoint_bytes(bf16) == once  # autocast: weights stay float32


def test_what_is_frozen_has_no_moments(shards):
    num_parameters = sum(one.numel() for one in build_network(finetune(shards)).parameters())
    assert count_checkpoint_bytes(finetune(shards)) == 4 * (3 * num_parameters - 2 * 16)  # the mask


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"name": "swin_huge"}, "model.name='swin_huge' is not known"),
        ({"embed_dim": 15, "num_heads": (2, 2)}, "num_heads=2 does not divide"),
        ({"img_size": 36}, "does not divide"),
    ],
)
def test_a_network_that_cannot_be_is_refused(model, said):
    config = replace(pretrain("x"), model=replace(TINY, **model))
    with pytest.raises(UserError, match=said):
        count_checkpoint_bytes(config)


def test_torch_is_imported_for_the_network_alone(shards):
    code = f"""
import sys
from ssl_swin.config.data import DataConfig
from ssl_swin.config.run import PretrainConfig
from ssl_swin.config.training import TrainingConfig
from ssl_swin.runs.sizes import count_steps, order_of, open_sets
config = PretrainConfig("x", DataConfig({shards!r}), training=TrainingConfig(global_batch_size=8))
assert count_steps(config, order_of(config, open_sets(config.data)), 2).steps_per_epoch == 2
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def plan(epochs, *available, every=1, images_per_epoch=1000, world_size=1):
    config = PretrainConfig(
        "run", DataConfig("x"), optim=OptimConfig(epochs=epochs, warmup_epochs=0)
    )
    config = replace(config, training=TrainingConfig(monitor_every_epochs=every))
    steps = images_per_epoch // 10
    one = Sizes(0, 8, (10,) * world_size, 1, 10, steps, epochs * steps)
    found = plan_monitors(config, one, available)
    return found.every_steps / steps, found.num_images


@pytest.mark.parametrize("epochs", [1, 3, 28, 100, 803])
@pytest.mark.parametrize("images_per_epoch", [200, 3000, 50_000, 1_281_000])
@pytest.mark.parametrize("available", [(10**6,), (10**6, 10**6), (90,), (90, 10**6)])
@pytest.mark.parametrize("every", [1, 5, 50])
def test_monitors_look_at_few_images_as_often_as_that_allows(
    epochs, images_per_epoch, available, every
):
    every_epochs, num_images = plan(
        epochs, *available, every=every, images_per_epoch=images_per_epoch
    )
    looks = -(-epochs // every_epochs)
    seen, looked_at = epochs * images_per_epoch, looks * sum(num_images)
    fewest = [min(FEWEST_MONITORED, one) for one in available]
    assert all(low <= num <= MOST_MONITORED for low, num in zip(fewest, num_images, strict=True))
    if MONITORED_SHARE * seen >= sum(fewest):
        assert looked_at <= MONITORED_SHARE * seen
        if every_epochs > every:  # one epoch earlier would be too much
            looks = -(-epochs // (every_epochs - 1))
            assert looks * sum(fewest) > MONITORED_SHARE * seen
    else:
        assert (looks, num_images) == (1, tuple(fewest))


def test_monitors_do_not_depend_on_ranks_and_can_be_off():
    assert plan(20, 9000) == plan(20, 9000, world_size=4) == (7, (266,))
    config = PretrainConfig("run", DataConfig("x"), training=TrainingConfig(monitor_every_epochs=0))
    one = Sizes(100, 8, (10,), 1, 10, 10, 100)
    assert plan_monitors(config, one, [100]) is None
