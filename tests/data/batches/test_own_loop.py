import numpy as np
import pytest
import torch
import torch.distributed
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils.data import DataLoader

from ssl_swin.data.batches.own_loop import make_loader
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.pixels.transforms import EvaluationTransform, TrainTransform
from ssl_swin.errors import UserError

PLAIN = EvaluationTransform(28, 1.0)


@pytest.fixture
def stream(tiny_shards):
    return ImageStream(tiny_shards([15, 9]), PLAIN, in_chans=1)


def read(batches):
    return [(batch["epoch"].tolist(), batch["index"].tolist()) for batch in batches]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_each_pass_is_the_next_epoch_and_a_stopped_loop_goes_on_with_what_was_left(
    stream, num_workers
):
    batches = make_loader(stream, 6)
    assert len(batches) == 4
    passes = [read(batches) for _ in range(3)]
    for epoch, found in enumerate(passes):
        assert [epochs for epochs, _ in found] == [[epoch] * 6] * 4
        assert sorted(np.concatenate([index for _, index in found])) == [*range(24)]
    orders = {tuple(np.concatenate([index for _, index in found])) for found in passes}
    assert len(orders) == 3
    rest = make_loader(stream, 6, start_step=5, num_workers=num_workers)
    assert len(rest) == 3
    assert read(rest) == passes[1][1:]
    assert (read(rest), len(rest)) == (passes[2], 4)
    assert read(make_loader(stream, 6, seed=1)) != passes[0]


def test_the_crops_of_an_epoch_are_drawn_for_it(tiny_shards):
    stream = ImageStream(tiny_shards([4]), TrainTransform(0, 28, (0.3, 0.5)), in_chans=1)
    batches = make_loader(stream, 4)
    (first,), (second,) = batches, batches
    same = first["image"][first["index"].argsort()] == second["image"][second["index"].argsort()]
    assert not same.all()


def test_without_a_seed_every_image_is_read_once_in_order(stream):
    batches = list(make_loader(stream, 10, seed=None))
    assert [len(batch["index"]) for batch in batches] == [10, 10, 4]
    assert torch.cat([batch["index"] for batch in batches]).tolist() == [*range(24)]


@pytest.fixture
def two_ranks():
    """A function that is called on each rank of a group of two that is never waited for."""

    def on_each(function):
        found = []
        for rank in range(2):
            torch.distributed.init_process_group("fake", store=FakeStore(), rank=rank, world_size=2)
            try:
                found.append(function())
            finally:
                torch.distributed.destroy_process_group()
        return found

    return on_each


@pytest.mark.parametrize("seed", [0, None])
@pytest.mark.parametrize("batch_size", [3, 4])
def test_each_process_gets_its_own_part(stream, two_ranks, batch_size, seed):
    parts = two_ranks(lambda: read(make_loader(stream, batch_size, seed=seed)))
    seen = [index for part in parts for _, index in part]
    assert {len(index) for index in seen} == {batch_size}
    assert sorted(np.concatenate(seen)) == [*range(24)]
    assert len(parts[0]) == len(parts[1])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"batch_size": 2, "num_workers": -1}, "num_workers=-1 must be at least 0"),
        ({"batch_size": 6, "start_step": -5}, "start_step=-5 must be at least 0"),
        ({"batch_size": 6, "seed": None, "start_step": 2}, "start_step=2 with seed=None"),
        ({"batch_size": 25}, "batch_size=25 on 1 process is more than the 24 images"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(stream, given, told):
    with pytest.raises(UserError, match=told):
        make_loader(stream, **given)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_torchs_own_loader_takes_a_stream_as_any_dataset(stream, num_workers):
    batches = list(DataLoader(stream, batch_size=10, num_workers=num_workers))
    assert [len(batch["image"]) for batch in batches] == [10, 10, 4]
    (whole,) = make_loader(stream, 24, seed=None)
    for name, tensor in whole.items():
        assert torch.equal(torch.cat([batch[name] for batch in batches]), tensor)
