import math

import pytest
import torch
from torch import nn

from ssl_swin.models.classifier import Classifier
from ssl_swin.record.lines import read_lines
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training.clock import Clock
from ssl_swin.training.loggers import MetricsFile, Scalars
from ssl_swin.training.norms import KINDS, Norms, StepNorms, parts_of
from tests.training.tiny import fit, learner

PARTS = ("stem", "stage1", "stage2", "decoder")


def points(folder):
    """All points of each step."""
    found = {}
    for line in read_lines(folder.metrics):
        found.setdefault(line["step"], {}).update(line)
    return found


def fitted(folder, *callbacks, steps=6, module=None, **options):
    module = module or learner(2)
    fit(module, steps, *callbacks, loggers=[MetricsFile(folder, lambda: None)], **options)
    return module


def test_parts_are_the_stages_and_what_is_beside_the_encoder():
    network = learner().network
    parts = parts_of(network)
    assert [*parts] == ["stem", "stage1", "stage2", "decoder"]
    trained = [one for part in parts.values() for one in part]
    assert {*map(id, trained)} == {*map(id, network.parameters())}
    assert any(one is network.encoder.backbone.norm.weight for one in parts["stage2"])
    classifier = Classifier(network.encoder, 3)
    assert [*parts_of(classifier)] == ["stem", "stage1", "stage2", "head"]


class Layered(nn.Module):
    """An encoder that knows layers and no stages."""

    num_layers = 2

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 2, bias=False) for _ in range(4))

    def layer_of(self, name):
        return int(name.split(".")[1])


def test_an_encoder_without_stages_answers_by_its_layers():
    network = nn.Module()
    network.encoder = Layered()
    assert {name: len(part) for name, part in parts_of(network).items()} == {
        "stem": 1,
        "layer1": 1,
        "layer2": 2,  # and what follows the last
    }


def test_norms_are_those_of_a_step_by_hand_and_add_up_to_the_whole_gradient(tmp_path):
    folder, clock = RunFolder(tmp_path), Clock()
    module = learner(2)
    before = {name: one.detach().clone() for name, one in module.network.named_parameters()}
    fitted(folder, Scalars(1, clock), Norms(1), clock, steps=1, module=module)
    point = points(folder)[1]
    assert {name for name in point if name.startswith("norm/")} == {
        f"norm/{kind}_{part}" for kind in KINDS for part in PARTS
    }
    whole = math.hypot(*(point[f"norm/gradient_{part}"] for part in PARTS))
    assert whole == pytest.approx(point["train/grad_norm"], rel=1e-9)
    names = [name for name in before if name.startswith("decoder.")]
    after = {name: one.detach() for name, one in module.network.named_parameters()}
    change = torch.cat([(after[name] - before[name]).flatten() for name in names]).norm()
    assert point["norm/update_decoder"] == pytest.approx(change.item(), rel=1e-9)
    weights = torch.cat([before[name].flatten() for name in names]).norm()
    assert point["norm/parameter_decoder"] == pytest.approx(weights.item(), rel=1e-9)


def test_gradients_are_measured_before_they_are_clipped_and_without_fp16_s_scale():
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    weight.grad = torch.tensor([60.0, 80.0])
    watch = StepNorms({"head": [weight], "none": [nn.Parameter(torch.ones(4))]})
    watch.before(torch.tensor(10.0))
    with torch.no_grad():
        weight.copy_(torch.tensor([0.0, 0.0]))
    watch.after()
    assert watch.squares().tolist() == [[100, 0], [25, 4], [25, 0]]


def test_they_are_logged_with_the_other_points_and_move_no_bit(tmp_path):
    found = {}
    for every in (2, 100):
        folder, clock = RunFolder(tmp_path / str(every)), Clock()
        folder.root.mkdir()
        module = fitted(folder, Scalars(2, clock), Norms(every), clock)
        found[every] = module.state_dict(), points(folder)
    weights, other = found[2][0], found[100][0]
    assert all(torch.equal(weights[name], other[name]) for name in weights)
    logged = {
        every: {s for s, p in of.items() if "norm/update_stem" in p}
        for every, (_, of) in found.items()
    }
    assert logged == {2: {2, 4, 6}, 100: set()}
    losses = [[of[step]["train/loss"] for step in of] for _, of in found.values()]
    assert losses[0] == losses[1]


def test_a_step_that_is_not_finite_has_no_gradient_and_changes_nothing(tmp_path):
    folder, module = RunFolder(tmp_path), learner()
    with torch.no_grad():
        module.network.decoder.conv.bias.fill_(float("nan"))
    fitted(folder, Norms(1), steps=1, module=module)
    point = points(folder)[1]
    assert not any(name.startswith("norm/gradient") for name in point)
    assert point["norm/update_stage1"] == 0
    assert point["norm/parameter_stage1"] > 0


def test_of_fp16_the_gradient_is_that_of_the_loss_and_an_overflow_has_none(tmp_path):
    folder, clock, module = RunFolder(tmp_path), Clock(), learner().float()
    callbacks = Scalars(1, clock), Norms(1), clock
    fitted(folder, *callbacks, steps=9, module=module, precision="fp16")
    found = [
        (point["train/grad_norm"], [point.get(f"norm/gradient_{part}") for part in PARTS])
        for point in points(folder).values()
        if "train/grad_norm" in point
    ]
    assert 0 < len(found) < 9
    for whole, parts in found:
        assert math.hypot(*parts) == pytest.approx(whole, rel=1e-5)
