import pytest
import torch

from ssl_swin.errors import UserError
from ssl_swin.record.lines import read_lines
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training.clock import Clock
from ssl_swin.training.loggers import make_loggers
from ssl_swin.training.scalars import Scalars
from tests.training.tiny import BATCH, fit, learner


def test_points_are_logged_at_multiples_of_the_run_s_steps(tmp_path):
    folder, module, clock = RunFolder(tmp_path), learner(), Clock()
    module.step = 3
    fit(module, 6, Scalars(4, clock), clock, loggers=make_loggers(folder, 3))
    points = read_lines(folder.metrics)
    assert [point["step"] for point in points] == [4, 8]
    last = points[-1]
    assert last["train/loss"] == module.metrics["train_loss"] > 0
    assert (last["train/samples_seen"], last["train/epoch"]) == (8 * BATCH, 2.0)
    assert last["lr/decay"] == last["lr/no_decay"] == module.schedule.curve.at(7)
    assert 0 <= last["speed/data_wait_share"] <= 1
    assert last["data/bad_samples"] == 0


def test_a_loss_that_is_no_number_ends_the_run_with_what_to_do():
    module, clock = learner(), Clock()
    with torch.no_grad():
        module.network.encoder.backbone.patch_embed.proj.weight.fill_(float("nan"))
    with pytest.raises(UserError, match=r"the loss is nan after step 1; .*lower optim.base_lr"):
        fit(module, 2, Scalars(1, clock), clock)
