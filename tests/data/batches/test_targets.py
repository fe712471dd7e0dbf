"""Rows of several classes, or of numbers."""

import numpy as np
import pytest
import torch

from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.batches.targets import Targets
from ssl_swin.data.labelling.attach import Asked, attach
from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.errors import ShardError, UserError
from tests.data.shards.tars import image_bytes, write_tar


@pytest.fixture
def given(tmp_path):
    def make(task, *texts):
        members = []
        for place, text in enumerate(texts):
            members.append((f"s{place}.png", image_bytes(place)))
            if text is not None:
                members.append((f"s{place}.cls", text.encode()))
        write_tar(tmp_path / "a.tar", members)
        return attach({"x": open_shards(tmp_path)}, Asked(task))[0]["x"]

    return make


def test_a_row_has_1_for_each_class(given):
    shards = given("multi-label", "ant;cat", "", None, "bee")
    targets, reader = Targets("multi-label", 3), ShardReader(shards)
    rows = [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert [targets.read(reader, 0, row).tolist() for row in (0, 1, 3)] == rows
    found = targets.all(shards)
    assert found[[0, 1, 3]].tolist() == rows
    assert np.isnan(found[2]).all()
    with pytest.raises(ShardError, match=r"sample 's2' of .* has no label of the task multi-label"):
        targets.read(reader, 0, 2)
    other = Targets("multi-label", 4, (3, 1, 0))
    assert other.read(reader, 0, 0).tolist() == [1, 0, 0, 1]
    assert other.all(shards)[0].tolist() == [1, 0, 0, 1]


def test_a_row_has_the_numbers(given):
    shards = given("regression", "1.5;-2", None, "0;7")
    targets = Targets("regression", 2)
    assert targets.read(ShardReader(shards), 0, 2).tolist() == [0, 7]
    assert targets.all(shards)[[0, 2]].tolist() == [[1.5, -2], [0, 7]]


def test_a_batch_has_their_rows(given):
    stream = ImageStream(given("regression", "1", None, "3"), img_size=8)
    stream.labels = Targets("regression", 1)
    rows = torch.stack([one["label"] for one in stream.__getitems__([0, 2])])
    assert rows.dtype == torch.float64
    assert rows.tolist() == [[1.0], [3.0]]


def test_no_image_without_a_label_stands_in_for_one_that_cannot_be_decoded(tmp_path):
    members = [("s0.png", b"no image"), ("s0.cls", b"1"), ("s1.png", image_bytes(1))]
    members += [("s2.png", image_bytes(2)), ("s2.cls", b"3")]
    write_tar(tmp_path / "a.tar", members)
    shards = attach({"x": open_shards(tmp_path)}, Asked("regression"))[0]["x"]
    stream = ImageStream(shards, img_size=8, labels=Targets("regression", 1))
    sample = stream[0]
    assert (int(sample["index"]), int(sample["replaced"])) == (2, 0)
    assert sample["label"].tolist() == [3.0]
    assert int(ImageStream(shards, img_size=8)[0]["index"]) == 1


@pytest.mark.parametrize(
    ("task", "texts", "num", "why"),
    [
        ("multi-label", ["0;2"], 2, "are of classes up to 2, and the model knows 0 to 1; set num_"),
        ("regression", ["1;2"], 1, "have 2 numbers each, and the model gives 1; give"),
        ("regression", [None], 1, "none of the 1 x images has a label .*: give each a number, or"),
        (
            "multi-label",
            [None],
            1,
            "none of the 1 x images has a label .*: give each a list",
        ),
    ],
)
def test_labels_that_do_not_fit_are_refused(given, task, texts, num, why):
    with pytest.raises(UserError, match=why):
        Targets(task, num).check(given(task, *texts), "x")


def test_labels_that_fit_need_no_word(given):
    assert Targets("regression", 1).check(given("regression", "1", None), "x") is None
