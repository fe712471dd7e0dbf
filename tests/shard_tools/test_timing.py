import pytest

from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.open import open_shards
from ssl_swin.data.pixels.transforms import TrainTransform
from ssl_swin.shard_tools.doctor import all_shares
from ssl_swin.shard_tools.timing import time_stages, time_workers


def test_every_image_is_timed_in_every_stage(photographs):
    found = open_shards(str(photographs))
    stream = ImageStream(found, TrainTransform(0, 32, (0.67, 1.0)), 32, in_chans=3)
    one = time_stages(stream, all_shares(found, 1), 0.05)
    assert one.num_images % 20 == 0
    assert one.num_jpegs * 20 == one.num_images * 18
    assert one.num_bytes * 20 == one.num_images * int(found.storage.rows(0)["size"].sum())
    assert {60 + i for i in range(18)} == set(one.short_sides)
    assert all(seconds > 0 for seconds in one.stages_s.values())
    assert sum(one.parts().values()) == pytest.approx(1)
    assert 10 < one.images_per_s < 100_000


def test_workers_are_timed_together(photographs):
    found = open_shards(str(photographs))
    stream = ImageStream(found, TrainTransform(0, 32, (0.67, 1.0)), 32, in_chans=3)
    assert 10 < time_workers(stream, all_shares(found, 1), 1, 0.05) < 100_000
