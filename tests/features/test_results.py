import json
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from ssl_swin.features.labelled import LabelledSet
from ssl_swin.features.results import Evaluation, Result, fitting, sentences, tables

LABEL = np.arange(400) % 4
LABEL[7] = -1


def result(name, share, few=(), seed=0, broken=(), **numbers):
    """A network whose kNN is right about so often, of images that are not broken."""
    draw = np.random.default_rng(seed)
    said = np.where(draw.random(400) < share, LABEL, (LABEL + 1) % 4)
    said[LABEL < 0] = -1
    said[[*broken]] = -1
    top1 = 100 * float((said == LABEL)[said >= 0].mean())
    sizes = 8, 399, int((said >= 0).sum())
    return Result(
        name, f"runs/{name}", "abc", *sizes, {"knn20": top1} | numbers, [*few], {"knn20": said}
    )


class Known(LabelledSet):
    content = "c"  # else it is read


def evaluation(*results):
    shards = SimpleNamespace(fingerprint=lambda: "f")
    sets = (Known(shards, f"{name}=shards/{name}", LABEL) for name in ("data", "test"))
    return Evaluation(*sets, ("a", "b", "c", "d"), "last", 0, [*results])


FEW = [
    {"name": "1 per class", "num_labels": 4, "top1": [20.0, 30.0], "mean": 25.0, "sd": 7.07}
    | {"knn_top1": [1.0, 2.0], "knn_mean": 1.5, "knn_sd": 0.7},
    {"name": "100 %", "num_labels": 399, "top1": [55.0], "mean": 55.0, "sd": None}
    | {"knn_top1": [50.0], "knn_mean": 50.0, "knn_sd": None},
]


def test_the_first_is_held_against_each_other_image_by_image():
    first, better, same = result("first", 0.5), result("better", 0.8, seed=1), result("same", 0.5)
    same.said["knn20"][:50] = -1  # not decoded, say
    found = evaluation(first, better, same).differences
    assert [(one.of, one.from_, one.measure) for one in found] == [
        ("first", "better", "knn20"),
        ("first", "same", "knn20"),
    ]
    expected = first.numbers["knn20"] - better.numbers["knn20"]
    assert found[0].interval.difference == pytest.approx(expected)
    assert found[0].interval.high < 0
    assert found[1].interval.difference == 0  # of the images that both have


def test_what_was_found_is_said_in_plain_words():
    first, better, worse = (
        result(name, share, seed=place)
        for place, (name, share) in enumerate((("mine", 0.5), ("timm", 0.9), ("random", 0.2)))
    )
    told = " | ".join(sentences(evaluation(first, better, worse, result("twin", 0.5, seed=5))))
    assert "timm is ahead of mine by 3" in told
    assert "mine beats random by 19.8 to 32" in told
    assert "mine and twin cannot be told apart by these test images: -" in told
    assert "intervals: 95 % over test images" in told
    alone = " ".join(sentences(evaluation(first)))
    assert alone.startswith("mine: kNN 20 ")
    assert alone.endswith("the most frequent class always gives 25.1 %")


def test_the_summary_is_json_with_all_that_was_found():
    found = evaluation(result("mine", 0.5, FEW, rankme=3.0), result("random", 0.2, seed=1))
    summary = json.loads(json.dumps(found.summary()))
    assert summary["kind"] == "frozen"
    assert summary["test"] == {
        "data": "shards/test",
        "fingerprint": "f",
        "content": "c",
        "images": 399,
        "broken": 0,
    }
    assert summary["classes"] == ["a", "b", "c", "d"]
    assert [one["name"] for one in summary["subjects"]] == ["mine", "random"]
    assert summary["subjects"][0]["few_labels"] == FEW
    (difference,) = summary["differences"]
    assert {*difference} == {"measure", "of", "from", "difference", "low", "high"}


def test_broken_images_do_not_count():
    found = evaluation(result("mine", 0.5, broken=range(0, 400, 4)))  # all of class 0
    assert (found.summary()["test"]["images"], found.summary()["test"]["broken"]) == (299, 100)
    assert tables(found)[0].title == "Frozen features, top-1 in % of 299 test images"
    assert " ".join(sentences(found)).endswith("always gives 33.4 %")
    found.results.append(result("theirs", 0.5))  # another decoder
    assert "of 299 to 399 test images" in tables(found)[0].title


def text_of(found, width):
    console = Console(width=width)
    with console.capture() as capture:
        for one in fitting(tables(found), width):
            console.print(one)
    return capture.get()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_number_is_cut_however_narrow_the_terminal_is(width):
    numbers = dict.fromkeys(("knn1", "probe", "probe_balanced", "rankme", "mine_too"), 12.3)
    names = ("swin_tiny_patch4_window7", "random", "a", "b")
    found = evaluation(*(result(name, 0.5, FEW, **numbers) for name in names))
    text = text_of(found, width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for shown in ("12.3", "25.0 ± 7.1", "55.0", "mine_too", "kNN 20"):
        assert shown in text


def test_a_table_that_fits_is_left_as_it_is():
    found = evaluation(result("mine", 0.5, FEW), result("random", 0.2, FEW, seed=1))
    whole = tables(found)
    assert [one.title for one in fitting(whole, 80)] == [one.title for one in whole]
    assert len(whole) == 4
    assert len(tables(evaluation(result("mine", 0.5)))) == 1
