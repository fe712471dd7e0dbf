import random
from collections import Counter
from dataclasses import replace

import pytest

from ssl_swin.errors import UserError
from ssl_swin.shard_tools.source import ImageFile
from ssl_swin.shard_tools.split import deal, parse_shares

SPLITS = ["val=0.1", "val=0.1,test=0.1", "test=.25", "val=0.02, test=0.33"]


def images(counts, group=lambda number: None):  # noqa: ARG005
    """So many images of each class, sorted by name."""
    files = [
        ImageFile(f"{label}/{number}.png", 1, label, group(number))
        for label, count in enumerate(counts)
        for number in range(count)
    ]
    return sorted(files, key=lambda file: file.name)


def counted(files):
    return Counter(file.label for file in files)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("seed", [0, 7])
def test_every_image_is_in_one_set_and_every_class_has_its_share(split, seed):
    files = images([1, 2, 3, 7, 10, 50, 101, 400] * 3)
    shares, total = parse_shares(split), counted(files)
    sets = deal(files, shares, seed)
    assert sorted((f for part in sets.values() for f in part), key=lambda f: f.name) == files
    assert list(sets) == [n for n in ("train", "val", "test") if n == "train" or n in split]
    for one in shares:
        found = counted(sets[one.name])
        assert all(abs(found[kind] - one.share * num) <= 1 for kind, num in total.items())
        assert all(found[kind] for kind, num in total.items() if num * one.share >= 1)
        assert abs(len(sets[one.name]) - one.share * len(files)) <= len(total) / 8
    assert set(counted(sets["train"])) == set(total)


def test_the_sets_depend_on_the_seed_and_not_on_the_order_of_classes_without_one():
    files = images([30, 40])
    shares = parse_shares("val=0.2")
    first, again, other = (deal(files, shares, seed) for seed in (0, 0, 1))
    assert first == again != other
    plain = [replace(file, label=None) for file in files]
    assert len(deal(plain, shares, 0)["val"]) == 14


def test_more_images_leave_most_of_the_others_where_they_were():
    files = images([200])
    before = {file.name for file in deal(files, parse_shares("val=0.1"), 0)["val"]}
    after = {file.name for file in deal(images([220]), parse_shares("val=0.1"), 0)["val"]}
    assert len(before & after) >= 15


@pytest.mark.parametrize("num_groups", [4, 30, 500])
@pytest.mark.parametrize("split", ["val=0.25", "val=0.2,test=0.2"])
def test_a_group_is_in_one_set_and_the_sets_are_balanced(num_groups, split):
    drawn = random.Random(0)
    sizes = [drawn.choice((1, 2, 3, 10, 40)) for _ in range(num_groups)]
    files = [
        ImageFile(f"{group:03d}/{place}.png", 1, drawn.choice((0, 0, 1)), f"patient {group}")
        for group, size in enumerate(sizes)
        for place in range(size)
    ]
    shares = parse_shares(split)
    sets = deal(files, shares, seed=3)
    groups = [{file.group for file in part} for part in sets.values()]
    assert sum(map(len, groups)) == num_groups == len(set().union(*groups))
    assert sets == deal(files, shares, seed=3)
    if num_groups >= 30:
        total = counted(files)
        for one in shares:
            found = counted(sets[one.name])
            for kind, num in total.items():
                assert found[kind] / num == pytest.approx(float(one.share), abs=0.03)


def test_images_without_a_group_go_alone():
    files = images([40], group=lambda number: "one" if number < 10 else None)
    sets = deal(files, parse_shares("val=0.5"), 0)
    assert {len(part) for part in sets.values()} == {20}
    assert len([part for part in sets.values() if any(file.group for file in part)]) == 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (images([1]), "1 images are too few for the split: val would be empty"),
        (images([9], lambda number: "one"), "9 images of 1 groups are too few"),  # noqa: ARG005
    ],
)
def test_a_set_is_never_empty(files, message):
    with pytest.raises(UserError, match=message):
        deal(files, parse_shares("val=0.3"), 0)


NO_SPLITS = ["", "0.1", "val", "val=0", "val=1.5", "train=0.8", "val=.1,val=.1"]


@pytest.mark.parametrize("text", NO_SPLITS)
def test_what_is_no_split_is_refused(text):
    with pytest.raises(UserError, match=r"is no split; give val=0\.1 or val=0\.1,test=0\.1"):
        parse_shares(text)


def test_something_must_be_left_to_train_on():
    with pytest.raises(UserError, match="leaves nothing to train on"):
        parse_shares("val=0.5,test=0.5")
