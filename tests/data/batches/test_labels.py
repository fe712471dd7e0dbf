"""Classes: read and checked, and a part of a set that is balanced over them."""

from multiprocessing import get_context

import numpy as np
import pytest

from ssl_swin.data.batches.labels import (
    FEWEST_OF_A_CLASS,
    Labels,
    all_labels,
    balanced_subset,
    some_of_each_class,
)
from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.errors import UserError
from tests.data.shards.tars import image_bytes, samples, write_tar


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
    message = r"^1 of 15 training images have no class .* 0 to 8: '000009' of class 9 in .*"
    with pytest.raises(UserError, match=message):
        balanced_subset(shards, Labels(9), 9, seed=0)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 1, 2, 3], "1 of 4 x images .* 0 to 2: 's3' of class 3 in .*; set num_classes to 4"),
        ([1, 2, 3], r"1 of 3 .*run from 1 to 3, so they seem to be numbered from 1: number them f"),
        ([0, None, 2], "1 of 3 .*'s1' without a label in .*; give each of them a label"),
        ([0, "cat", 2], "1 of 3 .*'s1' whose label is no number in"),
        ([None], "none of the 1 x images has a label, .* a whole number in .cls"),
        ([7] * 5, "5 of 5 .*'s0' .*'s1' .*'s2' of class 7 in [^']*, ...; set"),
    ],
)
def test_labels_that_are_no_class_are_named_before_any_is_drawn(tmp_path, labels, said):
    members = []
    for place, label in enumerate(labels):
        members.append((f"s{place}.png", b"image"))
        if label is not None:
            members.append((f"s{place}.cls", str(label).encode()))
    write_tar(tmp_path / "a.tar", members)
    with pytest.raises(UserError, match=said) as info:
        Labels(3).check(open_shards(str(tmp_path)), "x")
    assert "\n" not in str(info.value)


def test_all_labels_of_many_shards_are_in_the_order_of_the_set(tmp_path):
    for shard in range(20):
        write_tar(tmp_path / f"{shard:02d}.tar", samples(3, first=3 * shard))
    shards = open_shards(str(tmp_path))
    assert Labels(10).check(shards, "x") is None
    assert all_labels(shards, "label").tolist() == [place % 10 for place in range(60)]


def test_classes_in_another_order_are_renumbered(tiny_shards):
    reader = ShardReader(open_shards(str(tiny_shards([4]))))
    labels = Labels(10, renumber=(2, 0, 1))
    assert [labels.read(reader, 0, row) for row in range(4)] == [2, 0, 1, 3]


def test_renumbered_classes_are_checked_as_the_model_numbers_them(tiny_shards):
    shards = open_shards(str(tiny_shards([3])))  # of the classes 0, 1, 2
    assert Labels(6, renumber=(5, 3, 4)).all(shards, "x").tolist() == [5, 3, 4]
    with pytest.raises(UserError, match=r"1 of 3 .* of class 3 in .*; set num_classes to 4"):
        Labels(3, renumber=(3, 1, 2)).check(shards, "x")


def _read_labels(folder, results):
    shards, num_read = open_shards(folder), []
    real = type(shards.storage).read_pieces

    def counted(storage, shard, places):
        num_read.append(len(places))
        return real(storage, shard, places)

    type(shards.storage).read_pieces = counted
    results.put((all_labels(shards, "label").tolist(), sum(num_read)))


def test_of_many_processes_one_reads_the_labels_of_an_older_index(tmp_path):
    for shard in range(8):
        write_tar(tmp_path / f"{shard}.tar", samples(5, first=5 * shard))
    open_shards(str(tmp_path))
    for path in tmp_path.glob("*.labels"):
        path.unlink()
    context = get_context("forkserver")
    results = context.SimpleQueue()
    arguments = str(tmp_path), results
    processes = [context.Process(target=_read_labels, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    found = [results.get() for _ in processes]
    for process in processes:
        process.join()
    assert all(labels == [place % 10 for place in range(40)] for labels, _ in found)
    assert sum(num for _, num in found) == 40
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("num", [20, 64, 200, 999])
@pytest.mark.parametrize("num_classes", [2, 5, 40])
def test_some_of_each_class_are_few_balanced_and_have_company(num, num_classes):
    label = np.arange(2000) % (num_classes + 1) - 1  # some have none
    place = some_of_each_class(label, num, seed=0)
    assert sorted(set(place.tolist())) == place.tolist()
    count = np.bincount(label[place])
    assert label[place].min() >= 0
    assert num - num_classes < count.sum() + count.max() <= num + num // FEWEST_OF_A_CLASS * 8
    assert set(count[count > 0]) == {count.max()}
    assert count.max() >= FEWEST_OF_A_CLASS
    assert place.tolist() == some_of_each_class(label, num, seed=0).tolist()
    assert place.tolist() != some_of_each_class(label, num, seed=1).tolist()


def test_small_classes_give_all_they_have_and_single_images_nothing():
    label = np.array([0] * 3 + [1] + [2] * 20 + [3] * 5)
    place = some_of_each_class(label, 28, seed=0)
    assert np.bincount(label[place]).tolist() == [3, 0, 9, 5]
    assert some_of_each_class(np.arange(9), 9, seed=0).tolist() == []
    assert some_of_each_class(np.full(9, -1), 9, seed=0).tolist() == []


def test_a_class_of_many_has_eight_images_beside_many_classes_of_two():
    label = np.repeat(np.arange(107), [2] * 100 + [50] * 7)
    counts = np.bincount(label[some_of_each_class(label, 256, seed=0)])
    assert counts.tolist() == [2] * 100 + [8] * 7
    assert len(some_of_each_class(np.zeros(20, np.int64), 5, seed=0)) == 5
