"""What `benchmarks/step.py` compares: the same networks, in turns, with the same work."""

import argparse
import importlib
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from ssl_swin.models.attention import WindowAttention
from ssl_swin.models.moves import Move
from ssl_swin.models.patches import PatchEmbed

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    names = ("step", "sides", "gains", "plain", "gpu_limits", "step_memory", "train_step")
    yield argparse.Namespace(**{name: importlib.import_module(name) for name in names})
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def ours(modules):
    return modules.sides.build_ours("demo")


@pytest.fixture(scope="module")
def given(modules, ours):
    return modules.sides.draw_given(ours, 2, CPU)


@pytest.mark.parametrize("count", range(1, 10))
def test_each_side_follows_each_other_one_equally_often(modules, count):
    rounds = [modules.step.turns(number, count) for number in range(2 * count)]
    assert all(sorted(one) == list(range(count)) for one in rounds)
    seen = [pair for one in rounds for pair in pairwise(one)]
    assert {seen.count((a, b)) for a in range(count) for b in range(count) if a != b} <= {2}


def test_a_change_of_one_side_is_none_of_another(modules, ours, given):
    """Every side that can be built here computes the loss of ours, and so do its steps."""
    losses = {}
    for name, side in modules.sides.SIDES.items():
        if not side.compiled and not modules.sides.missing(name):
            network = modules.sides.build(name, ours, CPU)
            step = modules.train_step.TrainStep(network, given)
            losses[name] = [float(step()) for _ in range(3)]
            assert side.told
    assert {"ours", "timm", "timm+sdpa", "ours-fused", "ours+sdpa"} < losses.keys()
    assert {f"ours-{name}" for name in modules.gains.GAINS} < losses.keys()
    first = losses["ours"]
    assert first[2] < first[1] < first[0]
    for found in losses.values():
        assert found == pytest.approx(first, rel=1e-5)


def counted(network, given):
    """Return how often a step calls some operations of torch."""
    seen = dict.fromkeys(("baddbmm", "convolution", "index_select", "index_add"), 0)

    class Calls(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            for name in seen:
                seen[name] += name in func._schema.name
            return func(*args, **(kwargs or {}))

    with Calls():
        network(*given).backward()
    return seen


def test_each_gain_is_really_taken_out(modules, ours, given):
    with_all = counted(modules.sides.build("ours", ours, CPU), given)
    without = {
        name: counted(modules.sides.build(f"ours-{name}", ours, CPU), given)
        for name in modules.gains.GAINS
    }
    assert without["contiguous"]["baddbmm"] == 0 < with_all["baddbmm"]
    assert with_all["convolution"] == 0
    for name in ("patch-product", "decoder-product"):
        assert without[name]["convolution"] == 2  # forward and backward
    assert without["window-order"]["index_select"] > with_all["index_select"]
    assert without["move-backward"]["index_add"] > with_all["index_add"]
    for kind in (WindowAttention, Move, PatchEmbed):  # ours itself is as it was
        assert not any("forward" in vars(one) for one in ours.modules() if isinstance(one, kind))


def test_all_sides_have_the_operations_that_are_counted(modules, ours, given):
    limits, sides = modules.gpu_limits, modules.sides
    count = limits.count_network_flops(modules.plain.Plain(ours), given)
    for name in ("ours", "ours-contiguous", "timm"):
        network = sides.build(name, ours, CPU)
        assert limits.count_flops(lambda of=network: of(*given).backward()) == pytest.approx(
            count, rel=1e-6
        ), name


def test_what_the_forward_keeps_is_counted_once(modules):
    layer = torch.nn.Linear(8, 8)

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, images, mask):
            hidden = self.layer(images).exp()  # kept: its result, twice wanted
            return (hidden * hidden * mask).sum()

    images, mask = torch.ones(4, 8), torch.ones(4, 8)
    given = modules.train_step.Given(images, mask)
    step = modules.train_step.TrainStep(Network(), given)
    assert modules.step_memory.kept_bytes(step) == 4 * 4 * 8
    assert modules.step_memory.kept_bytes(step) == 4 * 4 * 8


def options(modules, *words):
    return modules.step.parse(["--model", "demo", "--threads", "1", "--no-memory", *words])


def test_sides_with_other_losses_are_refused(modules, monkeypatch):
    def spoil(network):
        with torch.no_grad():
            network.decoder.conv.weight.mul_(2)

    spoilt = modules.sides.Side(lambda ours: modules.sides._ours(ours, spoil), "spoilt")
    monkeypatch.setitem(modules.sides.SIDES, "spoilt", spoilt)
    asked = options(modules, "--sides", "ours,spoilt", "--rounds", "1", "--batch", "2")
    with pytest.raises(modules.train_step.NotComparable, match=r"step 1 differ.*spoilt"):
        modules.step.measure(asked)


def test_windows_that_transformers_lacks_are_refused_in_one_line(modules, monkeypatch, capsys):
    monkeypatch.setitem(
        modules.sides.SIDES, "theirs", modules.sides.SIDES["transformers"]._replace(needs=None)
    )
    words = "step.py --model demo --window-size 8 --threads 1 --no-memory --sides theirs"
    monkeypatch.setattr(sys, "argv", words.split())
    with pytest.raises(SystemExit, match=r"^step\.py: error: transformers has no window of 8"):
        modules.step.main()
    assert capsys.readouterr().out == ""


def test_the_page_has_a_row_for_each_side_beside_timm(modules):
    asked = options(modules, "--sides", "timm,ours", "--rounds", "2", "--batch", "2")
    found = modules.step.measure(asked)
    found.sides["timm"].ms, found.sides["ours"].ms = [20.0, 40.0], [10.0, 40.0]
    found.flops, found.peak = 10**9, 10**11
    found.sides["ours"].memory = modules.step_memory.Memory(2**20, 2**21)
    lines = modules.step.describe(asked, found)
    assert (
        "| ours | 25.0 (17.5 to 32.5) | 1.500 (1.250 to 1.750) | 80.0 | 40.0 | 40.0% | 1.0 | 2.0 |"
    ) in lines
    assert any(one.startswith("| timm | 30.0 (25.0 to 35.0) | 1.000 (") for one in lines)


def test_sides_that_are_not_there_are_named(modules, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    usual = options(modules)
    assert usual.left_out == [
        (name, "transformers") for name in ("transformers", "transformers+sdpa")
    ]
    assert not {"timm+compiled", "transformers"} & set(usual.sides)
    for asked, told in (
        ("ours,transformers", "transformers needs transformers, which is not installed"),
        ("ours,theirs", "no theirs; there are ours, ours-contiguous"),
    ):
        with pytest.raises(SystemExit):
            options(modules, "--sides", asked)
        assert told in capsys.readouterr().err.splitlines()[-1]
