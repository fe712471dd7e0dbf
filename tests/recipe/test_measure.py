import pytest
import torch

from ssl_swin.recipe import measure as measure_module
from ssl_swin.recipe.choose import Wishes, choose
from ssl_swin.recipe.images import look_at
from ssl_swin.recipe.measure import H100_RATE, Speed, config_of, estimate, measure
from tests.recipe.machines import CLUSTER, LAPTOP, LARGE_GPU, images


@pytest.fixture(autouse=True)
def briefly(monkeypatch):
    monkeypatch.setattr(measure_module, "STEPS_S", 0.01)
    monkeypatch.setattr(measure_module, "LOADER_S", 0.01)


@pytest.mark.parametrize("busy", [False, True])
def test_the_very_network_takes_steps_on_the_very_images(tiny_shards, busy, monkeypatch):
    monkeypatch.setattr(measure_module, "_BUSY", -1.0 if busy else 1e9)
    found = look_at(str(tiny_shards([9, 7], mode="RGB")))
    choices = choose(found, LAPTOP, str(found.shards), Wishes("nowhere"))
    threads = torch.get_num_threads()
    speed = measure(config_of(choices), LAPTOP, is_packed=True)
    assert torch.get_num_threads() == threads
    assert speed.is_alone != busy
    assert speed.takes > 0
    assert speed.gives is not None
    assert speed.gives > speed.of_run(LAPTOP, 1) > 0
    assert 200_000 < speed.num_parameters < 500_000
    assert measure(config_of(choices), LAPTOP, is_packed=False).gives is None


def test_on_a_cpu_loading_takes_time_from_training_and_on_a_gpu_it_may_hold_it_up():
    def speed(takes, gives):
        return Speed(takes, gives, 5, 0.1, True, 10**6)

    assert speed(100, None).of_run(LAPTOP, 1) == 100
    assert speed(100, 50).of_run(LAPTOP, 1) == pytest.approx(50)  # two cores
    assert speed(1000, 500).of_run(LARGE_GPU, 8) == 1000
    assert speed(1000, 50).of_run(LARGE_GPU, 8) == 400


def test_gpus_that_are_elsewhere_are_estimated_by_what_they_compute():
    paper = images(10**6)
    assert estimate(paper, LARGE_GPU, 1).takes == H100_RATE
    assert estimate(paper, CLUSTER, 8).takes == 8 * H100_RATE / 2  # of A100s
    assert estimate(images(3_000), LARGE_GPU, 1).takes > H100_RATE
    assert estimate(paper, CLUSTER, 8).num_steps == 0
