import csv
import json

import numpy as np
import pytest
from PIL import Image

from ssl_swin.evaluation.findings import Findings
from ssl_swin.evaluation.images import open_images
from ssl_swin.evaluation.pixels import PixelStream
from ssl_swin.evaluation.written import Subject, write_evaluation
from ssl_swin.pretrained.classifier import open_classifier

SUBJECT = Subject("runs/mine", "c0", "shards/val", "f0", False)


@pytest.fixture
def stream(classifier_run, photos):
    card = open_classifier(classifier_run()).card
    return PixelStream(open_images([str(photos(3, broken={1}))])[0], card)


def findings(said):
    ranked = np.array([[said, 1 - said, 2], [1, 0, 2]])
    probability = np.array([[0.5, 0.3, 0.2], [0.9, 0.06, 0.04]])
    return Findings(
        3, np.array([0, 2]), np.array([0, 1]), ranked, probability, probability[:, 0], (1,)
    )


def test_rows_are_in_the_order_of_the_set_and_name_what_is_broken(tmp_path, stream):
    write_evaluation(tmp_path, SUBJECT, findings(1), stream, stream_classes := ("a", "b, c", "d"))
    with (tmp_path / "images.csv").open(newline="") as file:
        first, second, third = csv.DictReader(file)
    assert (first["is"], first["label"], first["label_2"]) == ("a", "b, c", "a")
    assert second["error"]
    assert (third["is"], third["label"], third["probability"]) == ("b, c", "b, c", "0.9")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["run"], summary["images"], summary["broken"]) == ("runs/mine", 2, 1)
    assert (summary["top1"], summary["balanced_accuracy"]) == (50.0, 50.0)
    with (tmp_path / "confusion.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][1:] == [*stream_classes]
    assert rows[1] == ["a", "0", "1", "0"]


def test_without_a_mistake_there_is_a_picture_that_says_so(tmp_path, stream):
    write_evaluation(tmp_path, SUBJECT, findings(0), stream, ("a", "b", "c"))
    with Image.open(tmp_path / "mistakes.png") as image:
        assert image.width > 900
