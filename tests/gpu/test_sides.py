"""The sides of `benchmarks/step.py` are one network on a GPU, too, whatever kernel computes it."""

import importlib
import sys
from pathlib import Path

import pytest

from tests.gpu.device import DEVICE, ON_GPU, tolerate_warnings

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")


@pytest.fixture(scope="module")
def step():
    sys.path.insert(0, BENCHMARKS)
    yield importlib.import_module("step")
    sys.path.remove(BENCHMARKS)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_all_sides_have_the_losses_of_one_network(step, precision):
    """`measure` refuses them where not; a loss of the second step depends on all gradients."""
    tolerate_warnings()
    words = f"--model demo --batch 4 --rounds 1 --threads 1 --no-memory --precision {precision}"
    options = step.parse([*words.split(), "--device", DEVICE.type])
    options.sides = [name for name, side in step.SIDES.items() if not side.compiled]
    options.sides = [name for name in options.sides if not step.missing(name)]
    found = step.measure(options)
    assert {"ours", "ours-fused", "ours+sdpa", "timm"} <= found.sides.keys()
    assert all(len(side.ms) == 1 for side in found.sides.values())
    if ON_GPU:
        assert all(side.memory.kept > 0 < side.memory.peak for side in found.sides.values())
