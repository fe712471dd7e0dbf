import math
import threading

import pytest
import torch

from ssl_swin.record.lines import read_lines
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training import utilisation
from ssl_swin.training.loggers import MetricsFile
from ssl_swin.training.utilisation import Utilisation, asks_nvml, peak_flops
from tests.training.tiny import fit, learner


@pytest.mark.parametrize(
    ("card", "precision", "tera"),
    [
        ("NVIDIA A100-SXM4-80GB", "bf16", 312),
        ("NVIDIA A10", "fp16", 125),
        ("NVIDIA H100 PCIe", "tf32", 378),
        ("NVIDIA H100 80GB HBM3", "fp32", 66.9),
        ("NVIDIA L40S", "bf16", 362),
        ("Tesla V100-SXM2-16GB", "fp16", 125),
        ("Tesla V100-SXM2-16GB", "tf32", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "bf16", None),
        ("NVIDIA A100-SXM4-80GB", "fp64", None),
        ("a card of next year", "bf16", None),
    ],
)
def test_what_a_card_can_do_is_known_by_its_whole_name(card, precision, tera):
    assert peak_flops(card, precision) == (None if tera is None else tera * 1e12)


def points(folder, steps, callback):
    fit(learner(), steps, callback, loggers=[MetricsFile(folder, lambda: None)])
    return read_lines(folder.metrics) if folder.metrics.exists() else []


def test_mfu_is_the_share_of_the_images_that_could_be_trained_on(tmp_path, monkeypatch):
    clock = iter([10.0, 12.0, 13.0])  # the first step; points after steps 2 and 4
    monkeypatch.setattr(utilisation.time, "perf_counter", lambda: next(clock))
    found = points(RunFolder(tmp_path), 4, Timed(2, most_images_per_s=40.0))
    assert [(one["step"], one["speed/mfu"]) for one in found] == [
        (2, pytest.approx(100 * 8 / 2 / 40)),
        (4, pytest.approx(100 * 16 / 1 / 40)),
    ]


class Timed(Utilisation):
    """Asks the clock of this test alone."""


def test_what_a_thread_sees_is_logged_and_its_end_is_heard(tmp_path, monkeypatch):
    monkeypatch.setattr(utilisation, "_EVERY_S", 0.001)
    enough, told = threading.Event(), iter([80.0, 90.0, None])

    def busy():
        now = next(told)
        if now is None:
            enough.set()
        return now

    callback = Utilisation(1, None, busy)
    callback.on_train_batch_end = waiting(callback.on_train_batch_end, enough)
    (point,) = points(RunFolder(tmp_path), 1, callback)
    assert point["gpu/utilisation"] == 85


def waiting(hook, until):
    def wait(*given):
        assert until.wait(60)
        hook(*given)

    return wait


def test_without_what_to_tell_there_is_no_point(tmp_path):
    assert points(RunFolder(tmp_path), 3, Utilisation(1, None)) == []
    assert asks_nvml(torch.device("cpu")) is None
    assert all(math.isfinite(one) for row in utilisation.PEAKS.values() for one in row)
