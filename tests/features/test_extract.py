import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

from ssl_swin.data.open import open_shards
from ssl_swin.data.order.lanes import Share
from ssl_swin.errors import UserError
from ssl_swin.evaluation.classify import Computing
from ssl_swin.evaluation.images import Samples
from ssl_swin.evaluation.pixels import PixelStream
from ssl_swin.features import extract as module
from ssl_swin.features.extract import extract
from ssl_swin.features.ranks import Ranks
from ssl_swin.features.subjects import find_subject
from ssl_swin.models.normalise import Normalisation
from tests.data.shards.tars import image_bytes, write_tar
from tests.features.conftest import MEAN, STD

CPU = Computing(device="cpu", num_workers=0, batch_size=48)


@pytest.fixture
def subject(encoder_run):
    return find_subject(str(encoder_run()))


@pytest.fixture
def shards(noise):
    return open_shards(noise)


def test_features_are_those_of_ten_plain_lines_in_the_order_of_the_set(subject, shards, tmp_path):
    said = []
    found = extract(subject, shards, CPU, cache_dir=tmp_path, say=said.append)
    stream = PixelStream(Samples(shards), subject)
    expected = []
    for first, last in ((0, 256), (256, 300)):  # blocks
        for start in range(first, last, 48):
            images = stream.__getitems__(Share(0, np.arange(start, min(start + 48, last))))["image"]
            with torch.no_grad():
                expected.append(subject.network(Normalisation(MEAN, STD)(images)))
    expected = torch.cat(expected).numpy()
    assert found.values.dtype == np.float32
    assert np.flatnonzero(~found.good).tolist() == [3, 290]
    assert np.array_equal(found.values[found.good], expected[found.good])
    assert np.isnan(found.values[~found.good]).all()
    assert "features of 300 images at" in said[0]
    assert "2 are broken and have none" in said[0]


def test_the_second_time_nothing_is_computed_and_that_is_said(subject, shards, tmp_path, capsys):
    first = extract(subject, shards, CPU, cache_dir=tmp_path)
    subject.network.body = None  # nothing can be
    again = extract(subject, shards, CPU, cache_dir=tmp_path)
    assert np.array_equal(first.values, again.values, equal_nan=True)
    assert "features of 300 images are in the cache" in capsys.readouterr().out
    (facts,) = tmp_path.glob("features/*/features.json")
    assert json.loads(facts.read_text())["num_images"] == 300


def test_a_set_packed_again_in_another_order_is_computed_again(subject, tmp_path):
    found = []
    for name, order in (("a", [0, 1, 2]), ("b", [2, 0, 1])):
        (tmp_path / name).mkdir()
        members = [(f"{key}.png", image_bytes(key, "BMP")) for key in order]
        write_tar(tmp_path / name / "s.tar", members)
        found.append(extract(subject, open_shards(tmp_path / name), CPU, cache_dir=tmp_path))
    assert np.allclose(found[1].values, found[0].values[[2, 0, 1]], atol=1e-6)
    assert not np.allclose(found[1].values, found[0].values, atol=1e-3)


def test_layers_flips_and_weights_are_kept_apart(subject, shards, tmp_path, encoder_run):
    other = find_subject(str(encoder_run(seed=1)))
    flipped = Computing(device="cpu", num_workers=0, batch_size=48, flip=True)
    found = [
        extract(subject, shards, CPU, cache_dir=tmp_path),
        extract(subject, shards, CPU, "stage1", tmp_path),
        extract(other, shards, CPU, cache_dir=tmp_path),
        extract(subject, shards, flipped, cache_dir=tmp_path),
    ]
    assert len({one.values[0].tobytes() for one in found}) == 4
    stream = PixelStream(Samples(shards), subject)
    images = Normalisation(MEAN, STD)(stream.__getitems__(Share(0, np.arange(2)))["image"])
    with torch.no_grad():
        both = (subject.network(images) + subject.network(images.flip(3))) / 2
    assert np.allclose(found[3].values[:2], both, atol=1e-6)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_two_processes_give_the_bits_of_one(subject, shards, tmp_path, monkeypatch, num_workers):
    alone = extract(subject, shards, CPU, cache_dir=tmp_path / "one")
    waited = []

    class Second(Exception):
        pass

    def no_wait(self, done, needed):
        waited.append(needed())
        if self.ranks.rank == 1:
            raise Second
        assert done()

    monkeypatch.setattr(module.Beats, "wait", no_wait)
    how = Computing(device="cpu", num_workers=num_workers, batch_size=48)
    for rank in (1, 0):
        monkeypatch.setattr(Ranks, "of", lambda rank=rank: Ranks(rank, 2, rank, 2))
        try:
            shared = extract(subject, shards, how, cache_dir=tmp_path / "two")
        except Second:
            assert len(list(tmp_path.glob("two/features/*/block-000001.npz"))) == 1
    assert np.array_equal(alone.values, shared.values, equal_nan=True)
    assert np.array_equal(alone.good, shared.good)
    assert waited == [{0}, set()]


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_leaves_the_device_and_threads_are_as_they_were(
    subject, shards, tmp_path, monkeypatch, fails
):
    moved, threads = [], torch.get_num_threads()
    to, cpu = nn.Module.to, nn.Module.cpu

    def share(computing, *_):
        torch.set_num_threads(threads + 1)
        return computing

    def watched_to(self, device):
        moved.append("there")
        if fails:
            raise RuntimeError("full")
        return to(self, device)

    def watched_cpu(self):
        moved.append("back")
        return cpu(self)

    monkeypatch.setattr(module, "_for_rank", share)
    monkeypatch.setattr(nn.Sequential, "to", watched_to)
    monkeypatch.setattr(nn.Sequential, "cpu", watched_cpu)
    with pytest.raises(RuntimeError, match="full") if fails else nullcontext():
        extract(subject, shards, CPU, cache_dir=tmp_path)
    assert moved == ["there", "back"]
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("local_size", [1, 8])  # SLURM shares out cores itself, and GPUs not always
def test_each_process_of_a_machine_has_a_gpu_of_its_own(monkeypatch, local_size):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    devices = [
        module._for_rank(Computing(), 10, Ranks(8 + local, 16, local, local_size)).device
        for local in range(8)
    ]
    assert devices == [f"cuda:{local % 4}" for local in range(8)]


def test_a_stopped_extraction_goes_on(subject, shards, tmp_path, monkeypatch):
    whole = extract(subject, shards, CPU, cache_dir=tmp_path / "whole")
    seen = []
    read = PixelStream.__getitems__

    def stopping(self, share):
        seen.extend(share.index.tolist())
        if share.index[0] >= 256 and stopping.stops:
            raise KeyboardInterrupt
        return read(self, share)

    stopping.stops = True
    monkeypatch.setattr(PixelStream, "__getitems__", stopping)
    with pytest.raises(KeyboardInterrupt):
        extract(subject, shards, CPU, cache_dir=tmp_path / "stopped")
    stopping.stops = False
    seen.clear()
    found = extract(subject, shards, CPU, cache_dir=tmp_path / "stopped")
    assert seen == list(range(256, 300))
    assert np.array_equal(whole.values, found.values, equal_nan=True)


def test_images_of_which_none_can_be_decoded_are_refused(subject, tiny_shards, tmp_path):
    shards = open_shards(tiny_shards([2], broken={0, 1}))
    with pytest.raises(
        UserError, match="none of the 2 images can be decoded as 3 channels of uint8, "
    ):
        extract(subject, shards, CPU, cache_dir=tmp_path)


def test_a_wrong_layer_leaves_nothing_behind(subject, shards, tmp_path):
    with pytest.raises(UserError, match="none of this network"):
        extract(subject, shards, CPU, "stage9", tmp_path)
    assert not list(tmp_path.glob("features/*"))
