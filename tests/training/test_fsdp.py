"""FSDP beside DDP: the same curve, the same checkpoints, and no rank is waited for in vain."""

import shutil
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_swin.config.run import RunConfig
from ssl_swin.pretrained.open import find_weights
from ssl_swin.record.lines import read_lines
from ssl_swin.training.checkpoint_file import read_checkpoint
from ssl_swin.training.trainer import Hardware, make_trainer
from tests.training.conftest import SAMPLE, write_shards
from tests.training.launch import finetune_config, finish, interrupt, pretrain_config, start, train
from tests.training.stops import not_finite_in
from tests.training.test_elastic import largest_difference, points
from tests.training.test_ranks import assert_same_end, stopped_at
from tests.training.test_ranks import build as build_with_draws

CONFIGS = {"pretrain": pretrain_config, "finetune": finetune_config}
CURVES = (
    *("train/loss", "train/grad_norm", "heldout/heldout_loss", "quality/rankme"),
    *(f"norm/{kind}_stage1" for kind in ("gradient", "parameter", "update")),
)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 images: of 4 processes one has nothing to measure."""
    return write_shards(tmp_path_factory.mktemp("few"), [3])


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_shards(tmp_path_factory.mktemp("many"), [1])
    for tar in SAMPLE.glob("test-*.tar"):
        shutil.copy(tar, folder)
    return folder  # 2,001 images


def build(
    run_dir: Path, shards: Path, heldout: Path, place: tuple[str, int], **training: Any
) -> RunConfig:
    """16 steps in float64 without drop path, by a strategy on so many processes."""
    strategy, devices = place
    options = {"micro_batch_size": 5, "precision": "fp64", "checkpoint_every_steps": 5, **training}
    config = pretrain_config(run_dir, shards, strategy=strategy, devices=devices, **options)
    data, optim = replace(config.data, val_shards=str(heldout)), replace(config.optim, epochs=2)
    return replace(config, data=data, optim=optim)


def assert_same_curves(one: Path, other: Path) -> None:
    for name in CURVES:
        assert largest_difference(points(one, name), points(other, name)) < 1e-9, name


def assert_same_form(one: Any, other: Any) -> None:
    """The same names, types and numbers, in as many bytes."""
    if isinstance(one, dict):
        assert [*one] == [*other]
        for key in one:
            assert_same_form(one[key], other[key])
    elif isinstance(one, torch.Tensor):
        assert (one.dtype, one.shape, one.stride()) == (other.dtype, other.shape, other.stride())
        assert one.untyped_storage().nbytes() == other.untyped_storage().nbytes()
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


# With micro-batches of one image, shares of 4 and 8 images have 4 and 8 of them.
@pytest.mark.parametrize(("devices", "micro_batch_size"), [(2, 5), (4, 1)])
def test_curve_and_checkpoint_are_those_of_ddp(tmp_path, shards, few, devices, micro_batch_size):
    runs = [
        train(build(tmp_path / it, shards, few, (it, devices), micro_batch_size=micro_batch_size))
        for it in ("ddp", "fsdp")
    ]
    assert_same_curves(*runs)
    ddp, fsdp = (read_checkpoint(run / "checkpoints" / "last.ckpt") for run in runs)
    for part in ("model", "optimizer"):
        assert_same_form(ddp[part], fsdp[part])
    assert_same_form(*(find_weights(run / "encoder.safetensors").state for run in runs))


def test_killed_under_either_strategy_it_goes_on_under_the_other(tmp_path, shards, few):
    straight = train(build(tmp_path / "straight", shards, few, ("ddp", 1)))
    run = tmp_path / "run"
    assert -signal.SIGKILL in interrupt(
        build(run, shards, few, ("fsdp", 2), step_timeout_s=5.0), 7, signal.SIGKILL
    )
    assert interrupt(build(run, shards, few, ("ddp", 3)), 11, signal.SIGTERM) == {75}
    assert finish(start(build(run, shards, few, ("fsdp", 3)))) == {0}
    assert_same_curves(run, straight)


@pytest.mark.slow
def test_it_goes_on_from_any_number_of_processes_to_any_other(tmp_path, shards, few):
    straight = train(build(tmp_path / "straight", shards, few, ("ddp", 1)))
    run = tmp_path / "run"
    places = [("fsdp", 2), ("ddp", 1), ("fsdp", 4), ("ddp", 2), ("fsdp", 3), ("ddp", 4)]
    for life, place in enumerate(places, 1):
        assert interrupt(build(run, shards, few, place), 2 * life, signal.SIGTERM) == {75}
    assert finish(start(build(run, shards, few, ("fsdp", 1)))) == {0}
    assert_same_curves(run, straight)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONFIGS)
def test_stopped_on_3_processes_it_ends_with_bit_equal_weights(tmp_path, shards, kind):
    straight, stopped = (
        build_with_draws(kind, tmp_path / name, shards, 3, epochs=2, strategy="fsdp")
        for name in ("straight", "stopped")
    )
    assert_same_end(train(straight), stopped_at(stopped, [5]))


def test_a_step_that_is_not_finite_on_one_rank_changes_nothing_anywhere(tmp_path, shards, few):
    runs = []
    for strategy in ("ddp", "fsdp"):
        config = build(tmp_path / strategy, shards, few, (strategy, 2))
        assert finish(start(config, prepare=partial(not_finite_in, {3, 9}))) == {0}
        runs.append(Path(config.run_dir))
    assert points(runs[1], "train/bad_steps")[16] == 2
    assert_same_curves(*runs)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("devices", [2, 4])
def test_nobody_waits_in_vain_with_2001_held_out_images_panels_and_exports(
    tmp_path, shards, many, kind, devices
):
    """With checkpoints in the background, those that are kept, and, in fine-tuning, the best."""
    runs = []
    for strategy in ("ddp", "fsdp"):
        config = CONFIGS[kind](
            tmp_path / strategy,
            shards,
            strategy=strategy,
            devices=devices,
            micro_batch_size=100,  # rank 0 has a held-out batch more than the others
            checkpoint_every_steps=0,
            keep_every_epochs=1,
            async_checkpoint=True,
        )
        data, optim = replace(config.data, val_shards=str(many)), replace(config.optim, epochs=2)
        runs.append(train(replace(config, data=data, optim=optim)))
    ddp, fsdp = runs
    paths = [sorted(path.relative_to(run) for path in run.rglob("*.*[a-z]")) for run in runs]
    kinds = {".ckpt", ".png", ".safetensors", ".json"}
    assert [[it for it in some if it.suffix in kinds] for some in paths[:1]] == [
        [it for it in some if it.suffix in kinds] for some in paths[1:]
    ]
    for name in ("encoder.safetensors", "encoders/epoch-0001.safetensors"):
        assert find_weights(fsdp / name).state.keys() == find_weights(ddp / name).state.keys()
    first, second = (points(run, "heldout/heldout_loss") for run in runs)
    assert largest_difference(first, second) < (1e-3 if kind == "pretrain" else 1.0)


def test_one_process_trains_as_ddp_and_says_so(tmp_path, shards, few, capsys):
    make_trainer(Hardware("cpu", strategy="fsdp"), [], [])
    assert "nobody to share with; it trains as ddp" in capsys.readouterr().out
    config = build(tmp_path / "run", shards, few, ("fsdp", 1))
    train(replace(config, optim=replace(config.optim, epochs=1, warmup_epochs=0)))
    assert len(read_lines(tmp_path / "run" / "lives.jsonl")) == 1
