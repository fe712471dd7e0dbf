import numpy as np
import pytest

from ssl_swin.features.few_labels import NUM_DRAWS, few_labels


def unequal(sizes, seed=0):
    label = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(seed).permutation(label)


def by_name(label, seed=0):
    return {one.name: one for one in few_labels(label, seed)}


def test_so_many_labels_of_each_class_are_drawn():
    label = unequal([721, 300, 71, 4])
    found = by_name(label)
    names = [f"{num} per class" for num in (1, 2, 5, 10)]
    assert [*found] == [*names, "1 %", "10 %", "100 %"]
    for num in (1, 2, 5, 10):
        for draw in found[f"{num} per class"].draws:
            assert np.bincount(label[draw]).tolist() == [num, num, num, min(num, 4)]
    for draw in found["10 %"].draws:
        assert np.bincount(label[draw]).tolist() == [72, 30, 7, 1]
    for draw in found["1 %"].draws:
        assert np.bincount(label[draw]).tolist() == [7, 3, 1, 1]
    assert found["100 %"].draws[0].tolist() == list(range(1096))
    assert [len(one.draws) for one in found.values()] == [NUM_DRAWS] * 6 + [1]
    assert all(len(draw) == one.num_labels for one in found.values() for draw in one.draws)


def test_draws_depend_on_seed_and_labels_alone_and_differ():
    label = unequal([60, 40, 30])
    first, again, other = by_name(label), by_name(label), by_name(label, seed=1)
    for name, one in first.items():
        drawn = [draw.tolist() for draw in one.draws]
        assert drawn == [draw.tolist() for draw in again[name].draws]
        assert len({tuple(draw) for draw in drawn}) == len(drawn)
        if name != "100 %":
            assert drawn != [draw.tolist() for draw in other[name].draws]


def test_fewer_labels_are_among_more():
    found = by_name(unequal([60, 40, 30]))
    for few, more in (("1 per class", "2 per class"), ("5 per class", "10 per class")):
        for one, other in zip(found[few].draws, found[more].draws, strict=True):
            assert set(one) < set(other)


@pytest.mark.parametrize("sizes", [[1], [1, 1, 1], [2, 1], [3] * 400, [5000, 1]])
def test_small_sets_and_many_classes_give_what_there_is(sizes):
    label = unequal(sizes)
    found = by_name(label)
    assert found.pop("100 %").num_labels == len(label)
    for one in found.values():
        assert len(sizes) <= one.num_labels < len(label)
        assert all(len(np.unique(label[draw])) == len(sizes) for draw in one.draws)
    assert ("1 %" in found) == (round(len(label) / 100) >= len(sizes))


def test_images_without_a_label_are_never_drawn():
    label = unequal([30, 30])
    label[::3] = -1
    for one in few_labels(label, 0):
        assert all((label[draw] >= 0).all() for draw in one.draws)
