import os
import shutil

import numpy as np
import pytest

from ssl_swin.data.open import open_shards
from tests.data.shards.tars import plain_set, samples, write_tar


@pytest.mark.parametrize("num_shards", [1, 2, 7])
@pytest.mark.parametrize("empty", [False, True])
def test_locate_counts_every_sample_once_in_order(num_shards, empty):
    counts = np.arange(num_shards) % 3 + (0 if empty else 1)
    counts[-1] += 1
    shards = plain_set(counts, counts * 100)
    shard, row = shards.locate(np.arange(shards.num_samples).reshape(-1, 1))
    expected = [(s, r) for s, count in enumerate(counts) for r in range(count)]
    assert list(zip(shard.ravel(), row.ravel(), strict=True)) == expected
    for outside in (-1, shards.num_samples):
        with pytest.raises(ValueError, match=f"allowed are 0 to {shards.num_samples - 1}"):
            shards.locate(np.array([0, outside]))


def test_the_fingerprint_is_of_names_counts_and_sizes_not_of_the_place(folder):
    shards = open_shards(str(folder))
    copy = shutil.copytree(folder, folder / "copy", ignore=shutil.ignore_patterns("copy"))
    assert open_shards(str(copy)).fingerprint() == shards.fingerprint()
    os.rename(copy / "train-000003.tar", copy / "train-000004.tar")
    renamed = open_shards(str(copy))
    assert renamed.fingerprint() != shards.fingerprint()
    write_tar(copy / "train-000005.tar", samples(2))
    assert open_shards(str(copy)).describe()["num_shards"] == 5
