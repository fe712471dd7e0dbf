import re
from pathlib import Path

import pytest
import torch

from ssl_swin import main_memory
from ssl_swin.__main__ import run as command
from ssl_swin.errors import UserError
from ssl_swin.runs import life, micro_batch
from ssl_swin.runs.build import Run
from ssl_swin.runs.micro_batch import Try, foretold, sizes, try_micro_batches
from ssl_swin.training.learner import Learner
from tests.training.launch import finetune_config, pretrain_config
from tests.training.tiny import built

pytestmark = pytest.mark.usefixtures("short_timing")
BASE, IMAGE = 500, 10  # bytes: what a network takes, and each image


@pytest.fixture
def config(tmp_path, tiny_shards):
    return pretrain_config(tmp_path / "run", tiny_shards([30, 20]))


@pytest.fixture
def device(monkeypatch):
    """Pretends a device of so many bytes, on which too large a step fails or is only counted."""

    def pretend(total, raises):
        most, tried = [0], []
        take = Learner.training_step

        def training_step(self, batch, batch_idx):
            size = -(-len(batch["index"]) // self.schedule.num_micro_batches)
            tried.append(size)
            if raises and BASE + IMAGE * size > total:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            most[0] = max(most[0], BASE + IMAGE * size)
            take(self, batch, batch_idx)

        monkeypatch.setattr(Learner, "training_step", training_step)
        monkeypatch.setattr(micro_batch, "total_bytes", lambda _: total)
        monkeypatch.setattr(micro_batch, "taken_by_others", lambda _: 0)
        monkeypatch.setattr(micro_batch, "peak", lambda _: {"resident": most[0]})
        if raises:
            monkeypatch.setattr(micro_batch, "reset_peak", lambda _: most.__setitem__(0, 0))
            monkeypatch.setattr(Run, "on_gpu", True)
            monkeypatch.setattr(Run, "device", torch.device("cpu"))
            monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
        return tried

    return pretend


def test_sizes_are_powers_of_two_and_the_share():
    assert sizes(1) == [1]
    assert sizes(16) == [1, 2, 4, 8, 16]
    assert sizes(24) == [1, 2, 4, 8, 12, 24]
    assert sizes(100) == [1, 2, 4, 8, 15, 25, 50, 100]


def test_memory_is_foretold_by_the_image():
    tries = [Try(size, BASE + IMAGE * size, 1.0, "") for size in (1, 2, 4)]
    assert [foretold(8, tries[:num]) for num in range(4)] == [0, 0, BASE + 80, BASE + 80]
    assert foretold(6, tries) == BASE + 60


@pytest.mark.parametrize(
    ("total", "raises", "fits", "tried", "note"),
    [
        (10_000, False, 24, 24, ""),
        (700, False, 12, 12, "not tried: it would take more than the 630 B left"),
        (750, True, 12, 24, "less than 10% is left free"),  # 24 take 740
        (700, True, 12, 24, "out of memory"),
    ],
)
def test_the_largest_size_that_leaves_a_margin_is_found(
    config, device, capsys, total, raises, fits, tried, note
):
    seen = device(total, raises)
    run = built(config)
    assert try_micro_batches(run) == 0
    told = capsys.readouterr().out
    assert told.endswith(f"type\n  --training.micro-batch-size {fits}\n")
    assert max(seen) == tried
    assert note in " ".join(told.replace("│", " ").split())  # a table breaks lines
    rates = re.findall(r"│ (\d+) +│ ([\d.]+) +│", told)
    assert [int(size) for size, _ in rates][:4] == [1, 2, 4, 8]
    assert all(float(rate) > 0 for _, rate in rates)
    assert not Path(config.run_dir).exists()
    # nothing of it is left in the run
    assert run.module.step == 0
    assert (run.datamodule.fixed, run.module.result) == (None, None)
    assert all(parameter.grad is None for parameter in run.module.parameters())


@pytest.mark.parametrize("raises", [False, True])
def test_where_not_even_one_image_fits_it_is_the_user_s(config, device, raises):
    device(505, raises)
    with pytest.raises(UserError, match=r"not even one image fits: .*training\.micro_batch_size"):
        try_micro_batches(built(config))


def test_other_errors_stay_what_they_are(config, monkeypatch):
    def fail(*_args):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Learner, "training_step", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        try_micro_batches(built(config))


def test_what_is_measured_on_the_cpu_is_the_process(tmp_path, tiny_shards, capsys):
    config = finetune_config(tmp_path / "run", tiny_shards([30, 20], mode="RGB"))
    assert try_micro_batches(built(config)) == 0
    told = capsys.readouterr().out
    assert "32 px, fp32, main memory" in " ".join(told.split())
    peaks = re.findall(r"([\d.]+) MB", told)
    assert len(peaks) == 6 or "GB" in told
    assert all(float(peak) * 1e6 < main_memory.total_bytes() for peak in peaks)


def test_it_is_a_command_and_only_one_process_follows_it(
    two_step_run, tmp_path, capsys, monkeypatch
):
    words = [*two_step_run[0], f"--run-dir={tmp_path}/run", "--find-micro-batch"]
    assert command(words) == 0
    assert "--training.micro-batch-size 8\n" in capsys.readouterr().out
    monkeypatch.setattr(life, "is_rank_0", lambda: False)
    assert command(words) == 0
    assert "micro_batch_size" not in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    assert command(["submit", *words]) == 2
    assert "error: --find-micro-batch is no run" in capsys.readouterr().err
