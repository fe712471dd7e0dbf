"""A step that is not finite changes nothing and is counted; too many in a row end the run."""

import copy
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback

from ssl_swin.config.run import PretrainConfig
from ssl_swin.errors import UserError
from ssl_swin.record.lines import read_lines
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import read_summary
from ssl_swin.training import learner as learner_module
from ssl_swin.training import loss_scale
from ssl_swin.training.bad_steps import BadSteps
from ssl_swin.training.optim import adamw
from ssl_swin.training.preemption import Meeting
from ssl_swin.training.pretrain import PretrainModule
from ssl_swin.training.trainer import PRECISION
from tests.training.launch import finish, pretrain_config, start
from tests.training.stops import BAD, not_finite_in
from tests.training.test_interruption import assert_equal, checkpoint
from tests.training.tiny import fit, learner

NAN, INF = float("nan"), float("inf")
# What a micro-batch's loss becomes: of one, the gradient stays finite; of another, the loss.
FAULTS = {
    "loss and gradient": lambda loss: loss * NAN,
    "the loss alone": lambda loss: loss + INF,
    "the gradient alone": lambda loss: loss + 0 * (loss - loss.detach()).sqrt(),
}


class States(Callback):
    """Keeps weights and optimiser after each step."""

    def __init__(self):
        self.found = []

    def on_train_batch_end(self, _trainer, module, *_):
        optimizer = module.optimizers(use_pl_optimizer=False)
        self.found.append(copy.deepcopy((module.state_dict(), optimizer.state_dict()["state"])))


def broken(module: PretrainModule, steps: set[int], fault: str = "loss and gradient") -> Any:
    """Let one of each two micro-batches of these steps be at fault."""
    take, calls = module.loss, iter(range(1000))

    def loss(micro: Any) -> torch.Tensor:
        last = next(calls) % 2 == 1
        return FAULTS[fault](take(micro)) if module.step in steps and last else take(micro)

    module.loss = loss  # type: ignore[method-assign]
    return module


@pytest.mark.parametrize("precision", PRECISION)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_step_that_is_not_finite_changes_nothing(fault, precision, monkeypatch):
    monkeypatch.setattr(loss_scale, "INITIAL", 1024.0)  # so that fp16 has no overflow beside
    module, states = learner(2), States()
    module = module.double() if precision == "fp64" else module.float()
    fit(broken(module, {2, 3}, fault), 6, states, precision=precision)
    after_2, after_3, after_4, after_5, after_6 = states.found[1:]
    assert_equal(after_3, after_2)
    assert_equal(after_4, after_2)
    assert {int(one["step"]) for one in after_6[1].values()} == {4}
    for one, other in ((after_2, after_5), (after_5, after_6)):
        assert not any(torch.equal(one[0][name], other[0][name]) for name in one[0])


def test_a_first_step_that_is_not_finite_leaves_a_fresh_optimiser():
    straight, states = States(), States()
    fit(broken(learner(2), {0}), 1, states)
    fit(learner(2), 1, straight)
    weights, optimizer = states.found[0]
    assert_equal(weights, learner().state_dict())
    assert not any(bool(value.any()) for one in optimizer.values() for value in one.values())
    assert straight.found[0][1].keys() == optimizer.keys()


def test_an_optimiser_that_is_not_fused_takes_no_such_step_either(monkeypatch):
    monkeypatch.setattr(learner_module, "adamw", partial(adamw, fused=False))
    states = States()
    fit(broken(learner(2), {1}), 3, states)
    assert_equal(states.found[1], states.found[0])
    assert not torch.equal(*(next(iter(one[0].values())) for one in states.found[1:]))


def counted(steps: set[int], num_steps: int, most: int, every: int = 100, **metrics: int) -> dict:
    """Return the metrics after a run that counts at multiples of `every`, and at its end."""
    module, meeting = broken(learner(2), steps), Meeting(num_steps, 0.0, timedelta())
    module.metrics = dict(metrics)
    fit(module, num_steps, BadSteps(most, (every,), meeting))
    return module.metrics


def test_bad_steps_are_counted_and_named_where_points_are_logged(capsys):
    found = counted({1, 2, 5}, num_steps=6, most=10, every=4)
    assert found == {"bad_steps": 3, "bad_steps_in_a_row": 1}
    said = "warning: the loss or the gradient was not finite in step"
    assert capsys.readouterr().out.splitlines() == [
        f"{said} 2, 3, which changed nothing; 2 of 4 so far",
        f"{said} 6, which changed nothing; 3 of 6 so far",
    ]


def test_a_run_without_bad_steps_says_nothing(capsys):
    assert counted(set(), 3, most=0) == {"bad_steps": 0, "bad_steps_in_a_row": 0}
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("most", [0, 2])
def test_too_many_in_a_row_end_the_run_with_what_to_do(most):
    row = set(range(1, 2 + most))  # one too many
    counted(row - {1}, 6, most)
    end = f"in {most + 1} steps in a row, up to step {most + 2}, and training.max_bad_steps={most}"
    with pytest.raises(UserError, match=rf"not finite {end}; .*lower optim\.base_lr"):
        counted(row, 6, most)


def test_a_row_goes_on_in_the_next_life():
    with pytest.raises(UserError, match="in 3 steps in a row, up to step 1,"):
        counted({0}, 2, most=2, bad_steps=5, bad_steps_in_a_row=2)
    assert counted({1}, 2, most=2, bad_steps=5, bad_steps_in_a_row=2)["bad_steps"] == 6


def build(run_dir: Path, shards: Path, **training: object) -> PretrainConfig:
    config = pretrain_config(
        run_dir, shards, devices=2, micro_batch_size=6, log_every_steps=6, **training
    )
    return replace(config, optim=replace(config.optim, epochs=2))


def test_a_loss_of_one_micro_batch_of_one_rank_is_heard_by_all(tmp_path, shards):
    """A run that ends in a row of bad steps, and goes on where more are allowed."""
    poison = partial(not_finite_in, BAD)
    straight = build(tmp_path / "straight", shards, max_bad_steps=len(BAD))
    assert finish(start(straight, prepare=poison)) == {0}

    run = build(tmp_path / "run", shards, max_bad_steps=4)
    assert finish(start(run, prepare=poison)) == {1}  # main() makes 2 of it
    saved = checkpoint(tmp_path / "run")
    assert (saved["step"], saved["metrics"]["bad_steps_in_a_row"]) == (6, 3)
    ends = read_lines(tmp_path / "run" / "ends.jsonl")
    assert [end["step"] for end in ends] == [8, 8]  # both ranks
    assert all("in 5 steps in a row, up to step 8," in end["reason"] for end in ends)
    more = replace(run, training=straight.training)
    assert finish(start(more, prepare=poison)) == {0}

    before, after = (checkpoint(tmp_path / name) for name in ("straight", "run"))
    for part in ("model", "optimizer", "metrics"):
        assert_equal(before[part], after[part], part)
    summary = read_summary(RunFolder(tmp_path / "run"))
    assert summary is not None
    assert summary.bad_steps == len(BAD)
    points = [line for line in read_lines(tmp_path / "run" / "metrics.jsonl") if "lr/decay" in line]
    bad = [point["train/bad_steps"] for point in points]
    assert bad == [sum(step < done for step in BAD) for done in range(1, 17)]
    assert {point["step"] - 1 for point in points if "train/loss" not in point} == BAD
