"""fp16: the scale of the loss adapts on the device, and a killed run goes on with the same."""

import random
import signal
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
import torch
from pytorch_lightning import Callback

from ssl_swin.errors import UserError
from ssl_swin.record.lines import read_lines
from ssl_swin.training import loss_scale
from ssl_swin.training.bad_steps import BadSteps
from ssl_swin.training.checkpoint import restore
from ssl_swin.training.checkpoint_file import read_checkpoint, write_checkpoint
from ssl_swin.training.loss_scale import INITIAL, LARGEST, SMALLEST, LossScale
from ssl_swin.training.preemption import Meeting
from tests.training.launch import finetune_config, finish, interrupt, pretrain_config, start
from tests.training.stops import killed_while_it_measures, loss_scale_that_overflows
from tests.training.test_bad_steps import States, broken
from tests.training.test_interruption import assert_equal, checkpoint
from tests.training.tiny import fit, learner

CPU = torch.device("cpu")


@pytest.fixture
def often(monkeypatch):
    """Let the scale grow after three finite steps."""
    monkeypatch.setattr(loss_scale, "GROWS_AFTER", 3)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("seed", range(3))
def test_within_bounds_the_scale_does_as_torch_s(seed):
    draw, own = random.Random(seed), LossScale(CPU)
    scale, in_a_row = torch.tensor([INITIAL]), torch.zeros(1, dtype=torch.int32)
    for _ in range(60):
        overflow = draw.random() < 0.2
        assert bool(own.update(torch.tensor(not overflow))) is overflow
        torch._amp_update_scale_(scale, in_a_row, torch.tensor([float(overflow)]), 2.0, 0.5, 3)
        assert (own.scale, own.finite_in_a_row) == (scale, in_a_row)
        assert SMALLEST < own.scale < LARGEST


@pytest.mark.usefixtures("often")
def test_the_scale_stays_within_bounds_and_at_the_smallest_nothing_is_an_overflow():
    scale = LossScale(CPU)
    found = [bool(scale.update(torch.tensor(False))) for _ in range(20)]
    assert (found, int(scale.overflow_steps)) == ([True] * 16 + [False] * 4, 16)
    assert scale.scale == SMALLEST
    for _ in range(3 * 40):
        assert not scale.update(torch.tensor(True))
    assert scale.scale == LARGEST


def test_a_scale_goes_on_from_its_state():
    first = LossScale(CPU)
    for finite in (True, False, True, True):
        first.update(torch.tensor(finite))
    again = LossScale(CPU, first.state())
    for finite in (True, False):
        first.update(torch.tensor(finite))
        again.update(torch.tensor(finite))
    assert_equal(first.state(), again.state())
    assert int(again.overflow_steps) == 2


class Scaled(Callback):
    """Scales the loss where precision does not ask for it, and keeps what was found."""

    def __init__(self, scale=None):
        self.scale, self.norms = scale, []

    def on_train_batch_start(self, _trainer, module, *_):
        if self.scale is not None and module.loss_scale is None:
            module.loss_scale = LossScale(CPU)

    def on_train_batch_end(self, _trainer, module, *_):
        self.norms.append(module.result.grad_norm)


def test_in_float32_a_scaled_loss_changes_no_bit():
    ends = []
    for scale in (None, INITIAL):
        module, seen, states = learner(2).float(), Scaled(scale), States()
        module.schedule = replace(module.schedule, clip_grad=2.5)  # some steps are clipped
        fit(module, 4, seen, states, precision="fp32")
        ends.append((seen.norms, states.found[-1]))
    assert_equal(*ends)
    assert min(ends[0][0]) < 2.5 < max(ends[0][0])


class Scales(Callback):
    """Keeps each scale, and whether the step was finite and bad; and the scale at the start."""

    def __init__(self):
        self.found, self.began = [], None

    def on_train_batch_start(self, _trainer, module, *_):
        self.began = self.began or float(module.loss_scale.scale)

    def on_train_batch_end(self, _trainer, module, *_):
        result = module.result
        self.found.append((float(module.loss_scale.scale), bool(result.finite), bool(result.bad)))


def test_fp16_trains_in_fp16_and_its_loss_is_float32():
    module, types = learner(2).float(), Counter()
    module.network.encoder.register_forward_hook(
        lambda _one, _given, found: types.update([found.dtype])
    )
    scales = Scales()
    fit(module, 3, scales, precision="fp16")
    assert types == {torch.float16: 6}
    assert module.result.loss.dtype == torch.float32
    assert all(not bad for _, _, bad in scales.found)


def test_overflows_change_nothing_are_counted_apart_and_end_no_run(monkeypatch, capsys):
    monkeypatch.setattr(loss_scale, "INITIAL", LARGEST)
    module, states, scales = learner(2).float(), States(), Scales()
    meeting = Meeting(24, 0.0, timedelta())
    fit(module, 24, states, scales, BadSteps(0, (5,), meeting), precision="fp16")
    overflows = [finite for _, finite, _ in scales.found].count(False)
    assert 5 < overflows < 24
    assert module.metrics == {
        "bad_steps": 0,
        "bad_steps_in_a_row": 0,
        "overflow_steps": overflows,
    }
    assert capsys.readouterr().out == ""
    assert_equal(states.found[overflows - 1][0], learner(2).float().state_dict())
    assert not torch.equal(*(next(iter(one[0].values())) for one in states.found[-2:]))


def test_a_loss_that_stays_nan_ends_the_run_at_the_smallest_scale():
    module, scales = broken(learner(2).float(), set(range(40))), Scales()
    meeting = Meeting(40, 0.0, timedelta())
    halvings = 16  # from the initial scale to the smallest
    with pytest.raises(UserError, match=rf"in 3 steps in a row, up to step {halvings + 3}, "):
        fit(module, 40, scales, BadSteps(2, (1,), meeting), precision="fp16")
    assert [bad for _, _, bad in scales.found].index(True) == halvings
    assert scales.found[-1][0] == SMALLEST


def test_a_checkpoint_without_a_scale_begins_with_the_initial_one():
    """As older ones are, and those of other precisions."""
    began = []
    for scale in ({}, {"loss_scale": LossScale(CPU).state() | {"scale": torch.tensor(8.0)}}):
        module, seen = learner().float(), Scales()
        state = {"model": module.state_dict(), "step": 3, "metrics": {}, "optimizer": None}
        restore(module, state | scale)
        fit(module, 1, seen, precision="fp16")
        began.append(seen.began)
    assert began == [INITIAL, 8.0]


@pytest.mark.parametrize(
    ("configure", "precision", "devices", "steps"),
    [
        (pretrain_config, "fp16", 1, (5, 17)),
        (finetune_config, "fp16", 1, (11,)),
        (pretrain_config, "bf16", 1, (11,)),
        pytest.param(pretrain_config, "fp16", 3, (5, 17), marks=pytest.mark.slow),
    ],
)
def test_killed_among_overflows_a_run_goes_on_with_the_same_bits(
    configure, precision, devices, steps, tmp_path, shards
):
    def build(name):
        config = configure(tmp_path / name, shards, precision=precision, devices=devices)
        model = replace(config.model, drop_path_rate=0.1)
        return replace(config, model=model, optim=replace(config.optim, epochs=3))

    prepare = loss_scale_that_overflows
    assert finish(start(build("straight"), prepare=prepare)) == {0}
    for step in steps:
        killed = interrupt(build("killed"), step, signal.SIGKILL, prepare)
        assert -signal.SIGKILL in killed  # the other ranks fail
    assert finish(start(build("killed"), prepare=prepare)) == {0}
    before, after = checkpoint(tmp_path / "straight"), checkpoint(tmp_path / "killed")
    assert before.keys() == after.keys()
    assert ("loss_scale" in before) is (precision == "fp16")
    for part in {"model", "optimizer", "loss_scale", "step", "metrics"} & before.keys():
        assert_equal(before[part], after[part], part)
    assert before["metrics"]["bad_steps"] == 0
    if precision == "fp16":
        lines = read_lines(tmp_path / "killed" / "metrics.jsonl")
        overflows = {at["step"]: at["train/overflow_steps"] for at in lines if "train/loss" in at}
        assert overflows[3] > 0  # before the first kill, and after the last
        assert overflows[24] > overflows[18] > overflows[12]


def test_what_is_saved_as_a_life_begins_has_the_scale_that_it_began_with(tmp_path, shards):
    """The best look of a life before, of which a signal came in the measurement."""
    config = pretrain_config(tmp_path / "run", shards, precision="fp16")
    assert -signal.SIGKILL in interrupt(config, 9, signal.SIGKILL)
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    state = read_checkpoint(path)
    state["metrics"]["heldout_due"] = 1
    state["loss_scale"]["scale"].fill_(1024.0)
    write_checkpoint(path, state)
    assert finish(start(config, prepare=killed_while_it_measures)) == {-signal.SIGKILL}
    assert float(read_checkpoint(path)["loss_scale"]["scale"]) == 1024.0
