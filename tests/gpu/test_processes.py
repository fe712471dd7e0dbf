"""Processes leave: after an error in a backward on the device, and as the only rank of NCCL."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from pytorch_lightning.strategies import DDPStrategy

from ssl_swin.record.lines import read_lines
from ssl_swin.training import trainer
from ssl_swin.training.checkpoint_file import read_checkpoint
from ssl_swin.training.pretrain import PretrainModule
from tests.gpu.device import ACCELERATOR, DEVICE, ON_GPU, tolerate_warnings
from tests.training.launch import PATIENCE_S, finish, pretrain_config, start
from tests.training.stops import LOOK_EVERY_S

MOST_S = 30  # from an error to the end of the process
FAILS_IN = 4  # step, counted from 0; a checkpoint was saved after 3
BACKEND = "nccl" if ON_GPU else "gloo"


def build(run_dir, shards, **training):
    config = pretrain_config(run_dir, shards, accelerator=ACCELERATOR, **training)
    return replace(config, optim=replace(config.optim, epochs=1, warmup_epochs=0.5))


class OutOfRange(torch.autograd.Function):
    """The identity, whose backward looks where nothing is: on a GPU its context is lost."""

    @staticmethod
    def forward(ctx, x, marker):
        ctx.marker = marker
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        ctx.marker.touch()
        return grad.reshape(1)[torch.tensor([1 << 20], device=grad.device)].reshape(()), None


def fail_in_the_backward(marker: Path, rank: int) -> None:
    tolerate_warnings(rank)
    take = PretrainModule.loss

    def loss(self, micro):
        error = take(self, micro)
        return OutOfRange.apply(error, marker) if self.step == FAILS_IN else error

    PretrainModule.loss = loss


def test_after_an_error_in_the_backward_it_leaves_within_30_s(tmp_path, shards):
    marker, run = tmp_path / "failed", tmp_path / "run"
    processes = start(build(run, shards), prepare=partial(fail_in_the_backward, marker))
    deadline = time.monotonic() + PATIENCE_S
    while not marker.exists() and time.monotonic() < deadline:
        processes[0].join(LOOK_EVERY_S)
    failed = time.monotonic()
    processes[0].join(MOST_S)
    took, status = time.monotonic() - failed, processes[0].exitcode
    finish(processes)
    assert status == 1, f"still there {took:.0f} s after the error"
    (end,) = read_lines(run / "ends.jsonl")
    assert end["status"] == 1
    assert end["step"] in (FAILS_IN, FAILS_IN + 1)  # a GPU tells of it when it is next waited for
    assert "rror" in end["reason"]
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["step"] == 3


def as_one_rank(found: Path, rank: int) -> None:
    """Let DDP and its process group be there for one process, too."""
    tolerate_warnings(rank)
    trainer._strategy = lambda *_: DDPStrategy(
        process_group_backend=BACKEND, **{trainer._SYNC_BUFFERS: False}
    )
    take = PretrainModule.loss

    def loss(self, micro):
        error = take(self, micro)
        total = error.detach().clone()
        torch.distributed.all_reduce(total)
        assert torch.equal(total, error.detach())
        found.write_text(f"{torch.distributed.get_backend()} {total.device.type}")
        return error

    PretrainModule.loss = loss


def test_a_group_of_one_rank_starts_trains_and_leaves(tmp_path, shards):
    found = tmp_path / "found"
    run = build(tmp_path / "run", shards)
    assert finish(start(run, prepare=partial(as_one_rank, found))) == {0}
    assert found.read_text() == f"{BACKEND} {DEVICE.type}"
    assert read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["step"] == 8
