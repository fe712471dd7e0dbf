"""Classes: read and checked, and a part of a set that is balanced over them."""

import numpy as np
import pytest

from ssl_swin.data.batches.labels import Labels, balanced_subset
from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.errors import ShardError, UserError
from tests.data.shards.tars import image_bytes, write_tar


def test_a_label_is_the_cls_member_or_a_field_of_the_json(tmp_path):
    image = image_bytes(0)
    members = [("a.png", image), ("a.cls", b"3"), ("b.png", image), ("b.json", b'{"kind": 4}')]
    write_tar(tmp_path / "a.tar", members)
    reader = ShardReader(open_shards(str(tmp_path)))
    assert [Labels(10, "kind").read(reader, 0, row) for row in (0, 1)] == [3, 4]


@pytest.mark.parametrize("num_labels", [10, 25, 37])
def test_a_subset_is_balanced_sorted_and_depends_on_the_seed(tiny_shards, num_labels):
    shards, labels = open_shards(str(tiny_shards([31, 29]))), Labels(10)
    places = balanced_subset(shards, labels, num_labels, seed=0)
    assert sorted(set(places.tolist())) == places.tolist()
    counts = np.bincount(places % 10, minlength=10)  # sample i is of class i % 10
    assert counts.sum() == num_labels
    assert counts.max() - counts.min() <= 1
    assert (places == balanced_subset(shards, labels, num_labels, seed=0)).all()
    assert (places != balanced_subset(shards, labels, num_labels, seed=1)).any()


def test_a_subset_that_is_not_there_is_refused(tiny_shards):
    shards = open_shards(str(tiny_shards([15])))
    with pytest.raises(UserError, match=r"num_labels=20 needs 2 images of class 5; .* hold 1;"):
        balanced_subset(shards, Labels(10), 20, seed=0)
    with pytest.raises(ShardError, match="label 9 is not a class"):
        balanced_subset(shards, Labels(9), 9, seed=0)
