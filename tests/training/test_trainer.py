import os
import signal

import pytest
import torch
from pytorch_lightning import Callback

from ssl_swin.errors import UserError
from ssl_swin.training.trainer import (
    PRECISION,
    Hardware,
    allow_tf32,
    limit_threads,
    make_trainer,
    warn_of_emulation,
)
from tests.training.tiny import fit, learner


def test_lightning_leaves_signals_to_us():
    seen = []

    class Look(Callback):
        def on_train_batch_end(self, *_):
            seen.append([signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)])

    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)]
    fit(learner(), 1, Look())
    assert seen == [before]


@pytest.mark.parametrize("precision", PRECISION)
def test_weights_keep_their_type_in_every_precision(precision):
    module = learner()
    module = module.double() if precision == "fp64" else module.float()
    before = {p.dtype for p in module.parameters()}
    fit(module, 2, precision=precision)
    assert {p.dtype for p in module.parameters()} == before
    assert torch.isfinite(module.result.loss)


@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_of_products_and_convolutions_alike(allowed):
    """By torch's own defaults, convolutions have it and products do not."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        allow_tf32(allowed)
        asked = (torch.backends.cuda.matmul, torch.backends.cudnn)
        assert [one.allow_tf32 for one in asked] == [allowed, allowed]
        assert torch.get_float32_matmul_precision() == ("high" if allowed else "highest")
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def test_a_card_without_bf16_is_told_of_fp16(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "V100")
    warn_of_emulation("fp16")
    assert capsys.readouterr().out == ""
    warn_of_emulation("bf16")
    assert capsys.readouterr().out == (
        "warning: V100 has no bf16 and emulates it slowly; use training.precision=fp16\n"
    )


def test_callbacks_are_called_in_the_order_they_are_given():
    called = []

    class Note(Callback):
        def __init__(self, name):
            self.name = name

        def on_train_batch_end(self, *_):
            called.append(self.name)

    fit(learner(), 2, Note("a"), Note("b"), Note("c"))
    assert called == ["a", "b", "c"] * 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_more_gpus_than_there_are_are_refused():
    with pytest.raises(UserError, match="shows 0 GPUs; use fewer devices"):
        make_trainer(Hardware("gpu", devices=2), [], [])
    assert Hardware("auto").resolve() == "cpu"


def test_processes_share_the_cores_unless_told_otherwise():
    before, cores = torch.get_num_threads(), len(os.sched_getaffinity(0))
    try:
        limit_threads(None, devices=1)
        assert torch.get_num_threads() == cores
        limit_threads(None, devices=10 * cores)
        assert torch.get_num_threads() == 1
        limit_threads(3, devices=1)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_cores_of_one_launcher_are_shared_by_those_that_it_started(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "64")  # of which torchrun has 16
    before = torch.get_num_threads()
    try:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
        limit_threads(None, devices=8)
        assert torch.get_num_threads() == 2
        own = {0: set(range(2)), os.getppid(): set(range(16))}  # torchrun has bound each
        monkeypatch.setattr(os, "sched_getaffinity", own.get)
        limit_threads(None, devices=4)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("mine", "on_node", "devices", "threads"),
    [
        (8, 64, 8, 8),  # each process is bound to cores of its own
        (64, 64, 8, 8),  # all may use all of them
        (16, 64, 8, 8),  # bound to a socket that two share
        (1, 64, 8, 1),  # bound to one core, whatever the node has
        (4, None, 2, 2),  # without SLURM
    ],
)
def test_cores_that_slurm_has_shared_out_are_not_shared_again(
    monkeypatch, mine, on_node, devices, threads
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(mine)))
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)
    if on_node:
        monkeypatch.setenv("SLURM_CPUS_ON_NODE", str(on_node))
    before = torch.get_num_threads()
    try:
        limit_threads(None, devices)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
