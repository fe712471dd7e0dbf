"""How blocks are computed and gradients exchanged, through whole runs of one process and two."""

import copy
import warnings
from dataclasses import replace
from functools import partial

import pytest
import torch
from pytorch_lightning import Callback

from ssl_swin.models.blocks import compile_blocks
from ssl_swin.runs import computing
from tests.training.launch import finetune_config, finish, pretrain_config, start
from tests.training.test_interruption import assert_equal, checkpoint
from tests.training.tiny import fit, learner

CONFIGS = {"pretrain": pretrain_config, "finetune": finetune_config}


def ended(kind, folder, shards, prepare=None, **training):
    """One epoch of 8 steps, each of two micro-batches on each of two processes, drop path on."""
    config = CONFIGS[kind](folder, shards, devices=2, micro_batch_size=6, **training)
    model = replace(config.model, drop_path_rate=0.5, depths=(2, 2))
    optim = replace(config.optim, epochs=1, warmup_epochs=0)
    config = replace(config, model=model, optim=optim)
    assert finish(start(config, prepare=prepare)) == {0}
    return checkpoint(folder)


@pytest.mark.parametrize("kind", CONFIGS)
def test_checkpointing_changes_no_bit_of_a_run_on_two_processes(kind, tmp_path, shards):
    plain = ended(kind, tmp_path / "plain", shards)
    checkpointed = ended(kind, tmp_path / "less", shards, activation_checkpointing=True)
    for part in ("model", "optimizer", "metrics"):
        assert_equal(plain[part], checkpointed[part], part)


def test_gradients_added_up_in_bf16_are_those_within_its_rounding(tmp_path, shards):
    same = ended("pretrain", tmp_path / "same", shards)
    bf16 = ended("pretrain", tmp_path / "bf16", shards, reduce_precision="bf16")
    moments = [one["optimizer"]["state"] for one in (same, bf16)]
    for name, mine in moments[0].items():
        one, other = mine["exp_avg"], moments[1][name]["exp_avg"]
        assert not one.equal(other)
        assert (one - other).norm() < 0.05 * one.norm(), name


def compile_quickly(_rank):
    """Trace the blocks, but make no machine code: that takes minutes."""
    warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
    traced = partial(compile_blocks, backend=lambda graph, *_, **__: graph)
    computing.compile_blocks = traced


@pytest.mark.slow
def test_processes_that_compile_and_checkpoint_exchange_gradients_as_those_that_do_not(
    tmp_path, shards
):
    plain = ended("finetune", tmp_path / "plain", shards)
    settings = {"compile": "default", "activation_checkpointing": True}
    other = ended("finetune", tmp_path / "other", shards, compile_quickly, **settings)
    for name, one in plain["model"].items():
        torch.testing.assert_close(other["model"][name], one, rtol=1e-3, atol=1e-5)


class Keep(Callback):
    """Keeps what a checkpoint would after the second step."""

    def on_train_batch_end(self, _trainer, module, *_):
        if module.step == 2:
            optimizer = module.optimizers(use_pl_optimizer=False)
            self.model = copy.deepcopy(module.state_dict())
            self.optimizer = copy.deepcopy(optimizer.state_dict())


# torch asks for it and hides the warning, but not where warnings are errors.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
# Its compiler leaves a file and a process of its own to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_a_compiled_run_has_the_curve_of_a_plain_one_and_goes_on_with_its_own_bits(
    tmp_path, monkeypatch
):
    """Compiled in earnest, in float64, with two micro-batches and drop path."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    plain, straight, again = (learner(2, drop_path_rate=0.5) for _ in range(3))
    for module in (straight, again):
        compile_blocks(module.network.encoder.blocks(), "default")
    keep = Keep()
    fit(plain, 4)
    fit(straight, 4, keep)
    again.load_state_dict(keep.model)
    again.step, again.optimizer_state = 2, keep.optimizer
    fit(again, 2, first=2)
    for name, value in straight.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
        torch.testing.assert_close(value, plain.state_dict()[name], rtol=1e-9, atol=1e-12)
