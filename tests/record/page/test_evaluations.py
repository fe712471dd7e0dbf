"""Evaluations as tables: of classifiers by the set, of frozen features with their differences."""

import pytest

from ssl_swin.record.page.evaluations import evaluations
from ssl_swin.record.page.pictures import Album
from ssl_swin.record.page.write import read_stories

SET = {"data": "shards/test", "fingerprint": "f1", "images": 670, "broken": 0}


def difference(measure, found, low, high):
    whose = {"measure": measure, "of": "mine", "from": "random"}
    return whose | {"difference": found, "low": low, "high": high}


FROZEN = {
    "kind": "frozen",
    "train": {"data": "shards/train", "images": 3000},
    "test": {"data": "shards/test", "images": 670},
    "layer": "last",
    "subjects": [
        {
            "name": "mine",
            "measures": {"knn20": 61.0, "probe": 70.5, "probe_loss": 0.9, "rankme": 40.1},
            "few_labels": [
                {"name": "1 per class", "mean": 30.0, "sd": 2.5},
                {"name": "10 %", "mean": 50.0, "sd": None},
            ],
        },
        {
            "name": "random",
            "measures": {"knn20": 33.0, "probe": 72.5, "probe_loss": 1.9, "rankme": 4.0},
            "few_labels": [{"name": "1 per class", "mean": 12.0, "sd": 1.0}],
        },
    ],
    "differences": [
        difference("probe", -2.0, -4.0, 0.5),
        difference("knn20", 28.0, 25.0, 31.0),
    ],
}


def tables(folders):
    return evaluations(read_stories(folders), Album())


def test_classifiers_that_saw_the_same_images_are_one_table(make):
    a, b = make.run("a"), make.run("b")
    make.evaluation(a, "test", **SET, top1=50.0, loss=1.5)
    path = make.evaluation(b, "test", **SET, top1=49.0, loss=1.25, balanced_accuracy=31.0)
    make.evaluation(b, "val", **SET | {"fingerprint": "f2", "data": "shards/val"}, top1=60.0)
    make.picture(path.with_name("confusion.png"))
    make.picture(path.with_name("mistakes.png"))
    test, val = tables([a, b])
    assert test.title == "Classifiers on test"
    assert test.headings == ["top-1", "balanced", "loss, nats"]
    assert [(row.name, row.cells) for row in test.rows] == [
        ("a", ["50.00", "", "1.50"]),
        ("b", ["49.00", "31.00", "1.25"]),
    ]
    assert test.best == {(0, 0), (1, 2)}  # the largest top-1, the lowest loss
    assert [(owner, one.name) for owner, one in test.pictures] == [
        ("b", "confusion"),
        ("b", "mistakes"),
    ]
    assert (val.title, val.best) == ("Classifiers on val", frozenset())


def test_frozen_features_have_measures_few_labels_and_differences(make):
    folder = make.run("a")
    path = make.evaluation(folder, "frozen-test", **FROZEN)
    make.picture(path.with_name("neighbours-mine.png"))
    measures, few, differences = tables([folder])
    assert measures.headings == ["k = 20", "probe", "probe loss, nats", "RankMe"]
    assert [row.cells[0] for row in measures.rows] == ["61.00", "33.00"]
    assert measures.best == {(0, 0), (1, 1), (0, 2)}  # RankMe has no better end
    assert "3,000 images of train" in measures.note
    assert [one.name for _, one in measures.pictures] == ["neighbours-mine"]
    assert few.headings == ["1 per class", "10 %"]
    assert [row.cells for row in few.rows] == [["30.0 ± 2.5", "50.0"], ["12.0 ± 1.0", ""]]
    assert [row.cells for row in differences.rows] == [
        ["random", "probe", "-2.00", "-4.00 to +0.50", ""],
        ["random", "k = 20", "+28.00", "+25.00 to +31.00", "yes"],
    ]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"kind": "frozen"}', '{"kind": "frozen", "test": 3}']
)
def test_an_evaluation_that_is_half_written_breaks_nothing(make, text):
    folder = make.run("a")
    path = make.evaluation(folder, "frozen-test", **FROZEN)
    path.write_text(text)
    assert [row for table in tables([folder]) for row in table.rows] == []


def test_damaged_parts_of_an_evaluation_are_left_out(make):
    folder = make.run("a")
    damaged = {"subjects": [3, {"name": "x", "measures": {"probe": "?"}}], "differences": [{}, 1]}
    make.evaluation(folder, "frozen-test", **FROZEN | damaged)
    (table,) = tables([folder])
    assert (table.headings, [row.name for row in table.rows]) == ([], ["x"])
