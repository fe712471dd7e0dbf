import itertools

import pytest

from ssl_swin.errors import UserError
from ssl_swin.shard_tools.assign import PackOptions, assign
from ssl_swin.shard_tools.source import list_images


@pytest.mark.parametrize("samples", [None, 1, 3])
@pytest.mark.parametrize("num_bytes", [None, 1, 700])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_file_is_assigned_once_within_the_limits(source, samples, num_bytes, seed):
    files = list_images(source).files
    shards = assign(files, PackOptions("a", samples, num_bytes, seed=seed))
    parts = [[file for _, file in part] for part in shards.values()]
    assert sorted(shards) == list(shards)
    packed = list(itertools.chain(*parts))
    assert sorted(packed, key=lambda file: file.name) == files
    assert packed != files  # shuffled
    for part in parts:
        assert len(part) <= (samples or len(files))
        assert len(part) == 1 or num_bytes is None or sum(f.num_bytes for f in part) <= num_bytes
    assert samples is None or num_bytes is not None or len(shards) == -(-len(files) // samples)


def test_another_seed_is_another_order(source):
    files = list_images(source).files
    first, again, other = (assign(files, PackOptions("a", 4, seed=seed)) for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"samples_per_shard": 0}, "samples_per_shard=0"),
        ({"bytes_per_shard": -1}, "bytes_per_shard=-1"),
        ({"short_side": 0}, "short_side=0"),
        ({"quality": 101}, "quality=101"),
        ({"seed": -1}, "seed=-1"),
        ({"prefix": "a/b"}, "prefix='a/b'"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(UserError, match=message):
        PackOptions(**option)
