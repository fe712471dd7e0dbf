"""Fused, checkpointed, compiled and replayed from CUDA graphs: what only a GPU shows."""

import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback
from torch._dynamo.utils import counters

from ssl_swin.models.blocks import fuse_attention
from ssl_swin.runs.build import build
from ssl_swin.training.trainer import Hardware, make_trainer
from tests.models.test_blocks import NUM_BLOCKS, drawn, learned, swin
from tests.training.conftest import shards  # noqa: F401
from tests.training.launch import finetune_config, finish, pretrain_config, start
from tests.training.stops import signal_in_step
from tests.training.test_interruption import assert_equal, checkpoint

CONFIGS = {"pretrain": pretrain_config, "finetune": finetune_config}
ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
MODES = ("default", "reduce-overhead")
pytestmark = pytest.mark.gpu
needs_gpu = pytest.mark.skipif(not ON_GPU, reason="no GPU: Triton and CUDA graphs")


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(None, 1e-4), (torch.bfloat16, 5e-2), (torch.float16, 1e-2)]
)
def test_fused_attention_is_attention_within_rounding(dtype, tolerance):
    """Under autocast, too, where the table of positions is float32 and queries are not."""
    encoder, found = swin().to(DEVICE), []
    for on in (False, True):
        assert fuse_attention(encoder, on) == NUM_BLOCKS
        with torch.autocast(DEVICE, dtype=dtype, enabled=dtype is not None):
            found.append(learned(encoder, drawn(8).to(DEVICE)))
    (plain, plain_grads), (fused, fused_grads) = found
    assert (fused - plain).norm() < tolerance * plain.norm()
    for one, other in zip(fused_grads, plain_grads, strict=True):
        assert (one - other).norm() < tolerance * other.norm()


@pytest.mark.parametrize("fused", [False, True])
def test_checkpointed_blocks_compute_the_same_bits_with_drop_path(fused):
    found = []
    torch.use_deterministic_algorithms(True)
    try:
        for checkpointed in (False, True):
            encoder = swin(0.5).to(DEVICE)
            fuse_attention(encoder, fused)
            encoder.set_grad_checkpointing(checkpointed)
            found.append(learned(encoder, drawn(8).to(DEVICE)))
    finally:
        torch.use_deterministic_algorithms(False)
    assert_equal(*found)


def prepare(rank, at_step=None):
    """Print what is an error on the CPU: what libraries warn of on a GPU is not known yet."""
    warnings.simplefilter("default")
    if at_step is not None:
        signal_in_step(at_step, rank)


def configured(kind, folder, shards, **training):  # noqa: F811
    """8 steps, each of micro-batches of 5 and 4 images, with drop path on and held-out images."""
    settings = {"accelerator": "gpu", "deterministic": True, "micro_batch_size": 5} | training
    config = CONFIGS[kind](folder, shards, **settings)
    model = replace(config.model, drop_path_rate=0.3, depths=(2, 2))
    return replace(config, model=model, optim=replace(config.optim, epochs=1, warmup_epochs=0))


def ended(config, stops=()):
    for step in stops:
        assert finish(start(config, prepare=partial(prepare, at_step=step))) == {75}
    assert finish(start(config, prepare=prepare)) == {0}
    return checkpoint(Path(config.run_dir))


@needs_gpu
@pytest.mark.parametrize(
    ("mode", "checkpointed"), [("default", False), ("default", True), ("reduce-overhead", False)]
)
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_compiled_run_ends_near_a_plain_one(kind, mode, checkpointed, tmp_path, shards):  # noqa: F811
    """Gradients add up over micro-batches, also where graphs use their memory again."""
    compiled = {"compile": mode, "activation_checkpointing": checkpointed}
    plain, other = (
        ended(configured(kind, tmp_path / name, shards, **settings))
        for name, settings in (("plain", {}), ("compiled", compiled))
    )
    loss = plain["metrics"]["heldout_loss"]
    assert other["metrics"]["heldout_loss"] == pytest.approx(loss, rel=1e-2)
    for name, one in plain["model"].items():
        assert (other["model"][name] - one).norm() <= 1e-2 * one.norm() + 1e-3, name


@needs_gpu
@pytest.mark.parametrize("mode", MODES)
def test_a_compiled_run_that_is_stopped_ends_with_its_own_bits(mode, tmp_path, shards):  # noqa: F811
    straight, stopped = (
        configured("finetune", tmp_path / name, shards, compile=mode)
        for name in ("straight", "stopped")
    )
    before, after = ended(straight), ended(stopped, [3])
    for part in ("model", "optimizer", "metrics"):
        assert_equal(before[part], after[part], part)


class Count(Callback):
    """Counts what torch has compiled after each step."""

    def __init__(self):
        self.num_graphs = []

    def on_train_batch_end(self, *_):
        self.num_graphs.append(counters["stats"]["unique_graphs"])


@needs_gpu
def test_blocks_are_replayed_from_graphs_that_the_first_step_made(tmp_path, shards):  # noqa: F811
    """In this process, so that torch's counters can be read."""
    warnings.simplefilter("default")
    run, count = build(configured("pretrain", tmp_path, shards, compile="reduce-overhead")), Count()
    make_trainer(Hardware("gpu", deterministic=True), [count], []).fit(
        run.module, datamodule=run.datamodule
    )
    assert counters["inductor"]["cudagraph_skips"] == 0
    assert count.num_graphs[1:] == [count.num_graphs[0]] * 7
