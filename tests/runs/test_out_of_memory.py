from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ssl_swin.__main__ import run as command
from ssl_swin.errors import MachineError, UserError
from ssl_swin.record.lines import read_lines
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs import out_of_memory
from ssl_swin.runs.build import Run
from ssl_swin.runs.life import train
from ssl_swin.runs.out_of_memory import advice, memory_told
from ssl_swin.training.pretrain import PretrainModule
from tests.training.launch import finish, pretrain_config, start
from tests.training.stops import at_step
from tests.training.tiny import built

TODO = (
    r"try one of training\.micro_batch_size=8 \(now 12\), training\.activation_checkpointing=true "
    r"\(now false\), training\.precision=bf16 \(now fp32\)"
)


def no_room(*_args):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")


@pytest.fixture
def too_small_at(monkeypatch):
    """Lets the loss of a step, counted from 0, need more memory than there is."""
    take = PretrainModule.loss

    def at(step):
        def loss(self, micro):
            return no_room() if self.step == step else take(self, micro)

        monkeypatch.setattr(PretrainModule, "loss", loss)

    return at


@pytest.fixture
def config(tmp_path, shards_of_50):
    """Two steps an epoch, ten in all, in micro-batches of twelve; saved after each."""
    training = {"checkpoint_every_steps": 1, "micro_batch_size": 12}
    return pretrain_config(tmp_path / "run", shards_of_50, **training)


@pytest.fixture
def shards_of_50(tiny_shards):
    return tiny_shards([30, 20])


def with_training(config, **changes):
    return replace(config, training=replace(config.training, **changes))


def first_reason(config):
    return read_lines(RunFolder(Path(config.run_dir)).ends)[-1]["reason"]


def test_at_the_first_step_of_a_size_it_is_the_user_s(config, too_small_at):
    too_small_at(0)
    said = rf"^out of memory in step 1: .* at the peak, of .*; {TODO}; --find-micro-batch says"
    with pytest.raises(UserError, match=said):
        train(built(config))
    assert first_reason(config).startswith("UserError: out of memory in step 1: ")


def test_after_steps_of_that_size_it_is_the_machine_s(config, too_small_at):
    too_small_at(2)
    said = (
        rf"in step 3: .*, though steps of this size went well before; .* if it fails again, {TODO}"
    )
    with pytest.raises(MachineError, match=said):
        train(built(config))
    # and in the life after it, before its first step
    with pytest.raises(MachineError, match=r"in step 3: .* went well before"):
        train(built(config))
    with pytest.raises(UserError, match=r"in step 3: .*micro_batch_size=16 \(now 24\)"):
        train(built(with_training(config, micro_batch_size=24)))


def test_what_the_cpu_s_allocator_says_is_known(config, monkeypatch):
    monkeypatch.setattr(PretrainModule, "loss", lambda *_: torch.empty(10**15))
    with pytest.raises(
        UserError, match=r"^out of memory in step 1: .* \(main memory\); try one of"
    ):
        train(built(config))


def test_the_command_says_it_in_one_line(two_step_run, tmp_path, too_small_at, capsys):
    too_small_at(0)
    for more in ([], ["--dry-run"]):
        assert command([*two_step_run[0], f"--run-dir={tmp_path}/run", *more]) == 2
        (told,) = capsys.readouterr().err.splitlines()
        assert told.startswith("error: out of memory in step 1: ")


def too_small_on_rank_1(rank):
    if rank == 1:
        at_step(0, no_room)


def test_one_rank_without_room_ends_all(tmp_path, tiny_shards):
    config = pretrain_config(tmp_path / "run", tiny_shards([60, 43]), devices=2)
    assert 0 not in finish(start(config, prepare=too_small_on_rank_1))
    first, *_ = read_lines(RunFolder(Path(config.run_dir)).ends)
    assert first["reason"].startswith("rank 1: UserError: out of memory in step 1: ")
    assert (first["status"], first["step"]) == (2, 0)


@pytest.fixture
def on_a_gpu(monkeypatch):
    """Pretends that a run is on a GPU of 80 GB, of which others hold as much as is asked for."""

    def pretend(others):
        monkeypatch.setattr(Run, "on_gpu", True)
        monkeypatch.setattr(Run, "device", torch.device("cpu"))
        monkeypatch.setattr(out_of_memory, "described", lambda *_: "70.0 GB allocated")
        monkeypatch.setattr(out_of_memory, "total_bytes", lambda _: 80 * 10**9)
        monkeypatch.setattr(out_of_memory, "taken_by_others", others)

    return pretend


def told(run, error):
    with pytest.raises((UserError, MachineError)) as raised, memory_told(run):
        raise error
    return raised.value


def test_a_gpu_that_another_process_fills_is_the_machine_s(config, on_a_gpu):
    error, run = torch.OutOfMemoryError("CUDA out of memory."), built(config)
    on_a_gpu(lambda _: 5 * 10**9)  # CUDA's and NCCL's own
    assert isinstance(told(run, error), UserError)
    on_a_gpu(lambda _: 30 * 10**9)
    crowded = told(run, error)
    assert isinstance(crowded, MachineError)
    assert "70.0 GB allocated, 30.0 GB of it not this process's; another process" in str(crowded)
    on_a_gpu(no_room)
    full = told(run, error)
    assert isinstance(full, MachineError)
    assert "none left even for CUDA itself; another process is there" in str(full)


def test_main_memory_is_not_the_gpu_s(config, on_a_gpu):
    on_a_gpu(lambda _: 0)
    with pytest.raises(MemoryError), memory_told(built(config)):
        raise MemoryError("no memory to read last.ckpt into")


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"micro_batch_size": 24}, "micro_batch_size=16 (now 24)"),
        ({"micro_batch_size": 128}, "micro_batch_size=16 (now 24)"),  # a share has 24
        ({"micro_batch_size": 8}, "micro_batch_size=4 (now 8)"),
        ({"micro_batch_size": 1}, "micro_batch_size is 1 already"),
        ({"precision": "bf16"}, "precision is bf16 already"),
        ({"precision": "fp16"}, "precision is fp16 already"),
        ({"activation_checkpointing": True}, "activation_checkpointing is true already"),
        ({"precision": "fp64"}, "precision=bf16 (now fp64)"),
    ],
)
def test_the_next_smaller_of_each_setting_is_named(config, training, said):
    assert f"training.{said}" in advice(built(with_training(config, **training)))
