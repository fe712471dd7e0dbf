"""Labels in memory: of some samples, of sets laid end to end."""

import numpy as np

from ssl_swin.data.shards.given import MULTI, GivenLabels, join_given


def given(*lists):
    counts = [0 if one is None else len(one) for one in lists]
    values = [number for one in lists if one is not None for number in one]
    missing = np.array([one is None for one in lists])
    starts = np.concatenate([[0], np.cumsum(counts)])
    return GivenLabels(MULTI, starts, np.array(values, np.int32), missing, ("a", "b", "c"))


def as_lists(labels):
    places = range(len(labels.missing))
    return [None if labels.missing[at] else labels.of(at).tolist() for at in places]


def test_rows_may_be_taken_in_any_order_and_be_missing():
    labels = given([0, 2], [], None, [1])
    assert as_lists(labels.taken(np.array([3, -1, 0, 1, 2]))) == [[1], None, [0, 2], [], None]
    assert as_lists(labels.taken(np.array([], np.int64))) == []
    assert labels.num_known == 3


def test_sets_are_laid_end_to_end():
    both = join_given([given([0], None), given([2, 1])])
    assert as_lists(both) == [[0], None, [2, 1]]
    assert join_given([given([0]), None]) is None
    assert join_given([]) is None


def test_the_one_class_of_each_sample():
    assert given([1], None, [0]).number.tolist() == [1, -1, 0]


def test_the_digest_is_of_labels_and_names():
    digests = {one.digest() for one in (given([0]), given([1]), given(None), given([0, 1]))}
    assert len(digests) == 4
    assert given([0], [1]).digest() == given([0], [1]).digest()
