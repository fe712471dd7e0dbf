"""What `benchmarks/scaling.py` shows: what grows with what, and how it is drawn."""

import argparse
import importlib
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

ROOT = Path(__file__).parents[1]
SMALL = argparse.Namespace(
    window_size=8, swin_dim=24, vit_dim=48, patches=[16, 8], device="cpu", images=1, rounds=1
)


@pytest.fixture(scope="module")
def area():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield importlib.import_module("scaling_area")
    sys.path.remove(str(ROOT / "benchmarks"))


def flops_at(area, side):
    given = area.Given(torch.zeros(1, 3, side, side), torch.zeros(0))
    found = {}
    for name, network in area.build_all(SMALL, side).items():
        area.fuse_attention(network, False)
        found[name] = area.count_network_flops(network, given)
    return found


def test_a_swin_costs_what_an_image_has_in_pixels_and_a_vit_more(area):
    small, large = flops_at(area, 256), flops_at(area, 512)
    grown = {name: large[name] / small[name] for name in small}
    assert list(grown) == ["Swin, window 8", "ViT, patch 16", "ViT, patch 8"]
    assert grown["Swin, window 8"] == 4  # with four times the pixels
    assert 4 < grown["ViT, patch 16"] < grown["ViT, patch 8"] < 16
    assert grown["ViT, patch 8"] > 12


def test_a_cost_is_that_of_one_image_forward(area):
    two = argparse.Namespace(**{**vars(SMALL), "images": 2})
    found = area.costs_at(two, 32)
    whole = flops_at(area, 32)  # forward and backward
    assert {name: 3 * cost.flops for name, cost in found.items()} == pytest.approx(whole)
    assert all(min(cost.forward_s, cost.step_s) > 0 for cost in found.values())


def test_the_page_says_how_costs_grow(area):
    rows = [area.Cost(64, 1e9, 0.1, 0.5), area.Cost(128, 4e9, 0.4, 8.0)]
    lines = area.describe({"a": rows})
    assert "| a | 128 x 128 | 4.000 | 244141 | 400.0 | 8000.0 |" in lines
    assert lines[-1].endswith("power of 1.00, the time of a step to 2.00")


def test_powers_are_straight_lines_in_the_plot(area):
    found = {
        name: [area.Cost(side, side**power, 1.0, 5.0 * side**power) for side in (64, 128, 256)]
        for name, power in (("linear", 2), ("quadratic", 4))
    }
    drawn = ElementTree.fromstring(area.plot(found))
    lines = [one.get("d") for one in drawn.findall("{*}path") if one.get("d").count("L") == 2]
    assert len(lines) == 4
    slopes = []
    for line in lines:
        points = [tuple(map(float, pair.split())) for pair in line[1:].split("L")]
        ends, middle = (points[0], points[2]), points[1]
        for axis in (0, 1):
            assert middle[axis] == pytest.approx((ends[0][axis] + ends[1][axis]) / 2, abs=0.2)
        slopes.append(points[0][1] - points[2][1])
    assert slopes[2] == pytest.approx(2 * slopes[0], abs=0.5)
    assert slopes[0] == pytest.approx(slopes[1], abs=0.2)  # times and FLOPs, each over its first
    texts = [one.text for one in drawn.findall("{*}text")]
    assert {"64", "128", "256", "1", "1000", "linear: FLOPs"} <= set(texts)
