import copy
from dataclasses import replace

import pytest
import torch
from pytorch_lightning import Callback

from tests.training.tiny import BATCH, batches, fit, learner

HALVES = (slice(0, BATCH // 2), slice(BATCH // 2, BATCH))


class Gradients(Callback):
    """Keeps the gradients that the optimiser used."""

    def on_train_batch_end(self, _trainer, module, *_):
        self.found = {name: p.grad.clone() for name, p in module.named_parameters()}
        self.norm, self.loss = module.result.grad_norm, module.result.loss


@pytest.mark.parametrize("num_micro_batches", [2, 3, 8, 11])
def test_micro_batches_add_up_to_the_gradient_of_the_whole(num_micro_batches):
    whole, cut = Gradients(), Gradients()
    fit(learner(1), 1, whole)
    fit(learner(num_micro_batches), 1, cut)
    torch.testing.assert_close(cut.found, whole.found, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(cut.loss, whole.loss, rtol=1e-12, atol=0)


def test_a_long_gradient_is_scaled_down_and_its_norm_told():
    gradients, module = Gradients(), learner()
    module.schedule = replace(module.schedule, clip_grad=1e-3)
    fit(module, 1, gradients)
    clipped = torch.nn.utils.get_total_norm(gradients.found.values())
    assert float(clipped) == pytest.approx(1e-3, rel=1e-3)
    assert float(gradients.norm) > 1e-2


def test_without_a_limit_a_gradient_stays_as_long_as_it_is_told_to_be():
    gradients, module = Gradients(), learner()
    module.schedule = replace(module.schedule, clip_grad=None)
    fit(module, 1, gradients)
    whole = torch.nn.utils.get_total_norm(gradients.found.values())
    assert float(gradients.norm) == pytest.approx(float(whole))
    assert float(whole) > 1e-2


def test_a_step_uses_the_rate_of_the_run_s_step():
    module = learner()
    module.step = 6
    fit(module, 3)
    assert module.step == 9
    rates = {group["lr"] for group in module.optimizers(use_pl_optimizer=False).param_groups}
    assert rates == {module.schedule.curve.at(8)}


def test_what_a_step_draws_depends_on_the_step_and_not_on_what_was_drawn_before():
    """Drop path is on: two lives end with the weights of one."""

    class Save(Callback):
        def on_train_batch_end(self, _trainer, module, *_):
            if module.step == 2:
                optimizer = module.optimizers(use_pl_optimizer=False)
                self.model = copy.deepcopy(module.state_dict())
                self.optimizer = copy.deepcopy(optimizer.state_dict())

    straight, save = learner(2, drop_path_rate=0.5), Save()
    fit(straight, 4, save)
    again = learner(2, drop_path_rate=0.5)
    again.load_state_dict(save.model)
    again.step, again.optimizer_state = 2, save.optimizer
    torch.manual_seed(99)
    torch.rand(7)
    fit(again, 2, first=2)
    for name, value in straight.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_the_loss_is_over_the_global_batch_whatever_the_share():
    """Half a share has about half of the loss: the other rank has the rest."""
    module, (batch,) = learner(), batches(1)
    halves = [{name: value[part] for name, value in batch.items()} for part in HALVES]
    with torch.no_grad():
        whole, *parts = (float(module.loss(one)) for one in (batch, *halves))
    assert sum(parts) == pytest.approx(whole, rel=1e-12)
    assert all(0.3 * whole < part < 0.7 * whole for part in parts)


def test_with_cuda_graphs_gradients_add_up_in_memory_of_their_own():
    """Graphs use theirs again in the next micro-batch; on a CPU there are none, so bits agree."""
    module, plain, graphs = learner(3), Gradients(), Gradients()
    fit(learner(3), 1, plain)
    module.cuda_graphs, given = True, []
    for one in module.parameters():
        one.register_hook(lambda gradient: given.append(gradient.data_ptr()))
    fit(module, 1, graphs)
    kept = {one.grad.data_ptr() for one in module.parameters()}
    assert len(given) == 3 * len(kept)
    for name, gradient in plain.found.items():
        assert torch.equal(gradient, graphs.found[name]), name
    assert not kept & set(given)
