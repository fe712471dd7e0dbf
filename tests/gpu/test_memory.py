"""What only a GPU can show of memory: that it runs out, what is said then, and that it is freed."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ssl_swin.errors import MachineError, UserError
from ssl_swin.record.lines import read_lines
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import read_summary
from ssl_swin.runs.life import train
from ssl_swin.runs.micro_batch import try_micro_batches
from ssl_swin.training.memory import taken_by_others
from ssl_swin.training.pretrain import PretrainModule
from tests.training.launch import pretrain_config
from tests.training.tiny import built

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
    pytest.mark.usefixtures("short_timing"),
]

# Bytes of an allocation. In one that is let go torch may put smaller ones, and the next of its size
# would need room of its own.
PIECE = 2**26


@pytest.fixture
def config(tmp_path, tiny_shards):
    """Ten steps of 24 images, saved after each."""
    training = {"accelerator": "gpu", "checkpoint_every_steps": 1}
    return pretrain_config(tmp_path / "run", tiny_shards([30, 20]), **training)


@pytest.fixture(autouse=True)
def nothing_left():
    """What a test before took is given back, and what this one took as well."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    yield
    torch.cuda.empty_cache()


@pytest.fixture
def hungry(monkeypatch):
    """Lets the forward pass take so many bytes an image, from a step on, counted from 0."""
    take = PretrainModule.loss

    def each(num_bytes, from_step=0):
        def loss(self, micro):
            num = len(micro["index"]) if self.step >= from_step else 0
            pieces = -(-num * num_bytes // PIECE)
            held = [
                torch.empty(PIECE, dtype=torch.uint8, device=self.device) for _ in range(pieces)
            ]
            return take(self, micro) + 0 * sum(piece[:1].sum() for piece in held)

        monkeypatch.setattr(PretrainModule, "loss", loss)

    return each


def total():
    return torch.cuda.mem_get_info()[1]


def test_a_step_that_takes_too_much_is_one_line_with_its_figures(config, hungry):
    hungry(total())
    said = (
        r"^out of memory in step 1: [\d.]+ [MGk]?B allocated, [\d.]+ [MGk]?B reserved at the peak, "
        rf"of [\d.]+ GB \({re.escape(torch.cuda.get_device_name())}\); .*micro_batch_size=16"
    )
    with pytest.raises(UserError, match=said):
        train(built(config))


def test_after_steps_that_went_well_it_is_the_machine_s(config, hungry):
    hungry(total(), from_step=2)
    with pytest.raises(MachineError, match=r"in step 3: .* went well before"):
        train(built(config))


def test_what_is_not_torch_s_in_this_process_counts_as_others():
    before = taken_by_others(torch.device("cuda", 0))
    held = torch.empty(2**28, dtype=torch.uint8, device="cuda")
    assert abs(taken_by_others(torch.device("cuda", 0)) - before) < 2**27
    del held


def test_peaks_are_logged_and_summarised(config, hungry):
    hungry(10**6)
    assert train(built(config)) == 0
    folder = RunFolder(Path(config.run_dir))
    peak = read_summary(folder).peak_memory_bytes
    assert 24 * 10**6 < peak["allocated"] <= peak["reserved"] < total()
    points = [line for line in read_lines(folder.metrics) if "train/loss" in line]
    assert points[-1]["memory/peak_allocated_gb"] == peak["allocated"] / 1e9
    assert points[-1]["memory/peak_reserved_gb"] == peak["reserved"] / 1e9


@pytest.mark.parametrize(("images", "fits", "note"), [(14, 12, "out of memory"), (60, 24, "")])
def test_the_largest_micro_batch_is_found_and_freed(config, hungry, capsys, images, fits, note):
    """Of so many images there is room for what each takes."""
    hungry(int(torch.cuda.mem_get_info()[0] * 0.9) // images)
    before = torch.cuda.memory_allocated()
    assert try_micro_batches(built(config)) == 0
    told = capsys.readouterr().out
    assert told.endswith(f"--training.micro-batch-size {fits}\n")
    assert note in told
    assert torch.cuda.memory_allocated() - before < 2**27
    # a run with what was said goes well, also after the one that did not fit
    small = replace(config, training=replace(config.training, micro_batch_size=fits))
    assert train(built(small)) == 0
