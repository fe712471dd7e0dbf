import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ssl_swin.__main__ import run
from ssl_swin.evaluation.evaluate import usual_folder
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import read_summary
from tests.training.launch import finetune_config, train

pytestmark = pytest.mark.usefixtures("in_the_checkout")
TEN = tuple(map(str, range(10)))


@pytest.fixture(scope="module")
def shards(tiny_shards):
    return tiny_shards([40, 21], broken={3, 60}, mode="RGB")


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_it_says_what_the_run_said_of_its_held_out_images(tmp_path, shards, capsys):
    config = finetune_config(tmp_path / "run", shards, micro_batch_size=7)
    data = replace(config.data, max_bad_share=0.5)
    config = replace(config, data=data, optim=replace(config.optim, epochs=2, warmup_epochs=1))
    folder = train(config)
    summary = read_summary(RunFolder(folder))
    assert run(["evaluate", str(folder), "--data", str(shards), "--batch-size=7"]) == 0
    found = json.loads((usual_folder(folder, str(shards)) / "summary.json").read_text())
    assert (found["top1"], found["top5"]) == (summary.top1, summary.top5)
    assert found["loss"] == pytest.approx(summary.heldout_loss, rel=1e-12)
    assert (found["images"], found["broken"]) == (59, 2)
    told = capsys.readouterr().out
    assert f"top-1 {summary.top1:.2f} %, top-5 {summary.top5:.2f} %" in told
    assert all(len(line) <= 80 for line in told.splitlines() if str(tmp_path) not in line)
    assert f"ssl-swin predict {folder} NEW_IMAGES -o predictions.csv" in told
    assert "warning: broken images, which do not count: 2" in told


def test_it_leaves_tables_and_pictures_that_agree(classifier_run, shards, tmp_path):
    where, output = classifier_run(TEN), tmp_path / "out"
    words = ["evaluate", str(where), f"--data={shards}", "--device=cpu", "--flip"]
    assert run([*words, "-o", str(output)]) == 0
    assert {path.name for path in output.iterdir()} == {
        *("summary.json", "per_class.csv", "confusion.csv", "images.csv"),
        *("confusion.png", "mistakes.png"),
    }
    summary, each = (
        json.loads((output / "summary.json").read_text()),
        table(output / "per_class.csv"),
    )
    predictions = table(output / "images.csv")
    assert len(predictions) == 61
    assert [row["image"] for row in predictions if row["error"]] == ["000003", "000060"]
    good = [row for row in predictions if not row["error"]]
    right = sum(row["is"] == row["label"] for row in good)
    assert summary["top1"] == 100 * right / 59
    assert summary["flip"] is True
    assert [row["class"] for row in each] == [*TEN]
    assert sum(int(row["count"]) for row in each) == 59
    rows = table(output / "confusion.csv")
    counts = np.array([[int(row[name]) for name in TEN] for row in rows])
    assert counts.trace() == right
    for name in ("confusion.png", "mistakes.png"):
        with Image.open(output / name) as image:
            assert min(image.size) > 400
    assert not RunFolder(where).evaluation("out").exists()


def test_the_folder_of_other_images_is_not_written_over(
    classifier_run, shards, tiny_shards, tmp_path, capsys
):
    where, output = classifier_run(TEN), tmp_path / "out"
    for expected, data in ((0, shards), (0, shards), (2, tiny_shards([3], mode="RGB"))):
        before = sorted(output.glob("*"))
        words = ["evaluate", str(where), f"--data={data}", "-o", str(output)]
        assert run(words) == expected
        assert not before or sorted(output.glob("*")) == before
    assert "holds the evaluation of other images" in capsys.readouterr().err


def test_what_cannot_be_measured_is_one_line(classifier_run, tiny_shards, tmp_path, capsys):
    named, numbered = classifier_run(), classifier_run(TEN)
    whole, broken = tiny_shards([3], mode="RGB"), tiny_shards([2], broken={0, 1})
    for words, told in (
        ([str(named), f"--data={whole}"], "has no classes.json beside its tars"),
        ([str(numbered), f"--data={tmp_path}"], "matches no tar"),
        ([str(numbered), f"--data={broken}"], "none of the 2 images can be decoded"),
        ([str(numbered)], "data"),
        ([str(tmp_path), f"--data={whole}"], "classifier.safetensors"),
    ):
        assert run(["evaluate", *words]) == 2
        said = capsys.readouterr().err
        assert told in said
        assert said.count("\n") == 1
        assert not list(tmp_path.glob("*"))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("shards/mine/val", "val"),
        ("shards/mine/val/", "val"),
        ("shards/mine/val-{000..009}.tar", "mine"),
        ("x.tar", "x.tar"),
        ("s3://bucket/test/*.tar", "test"),
        ("https://host/a b/x.tar?key=secret", "a-b"),
        ("../..", "data"),
    ],
)
def test_its_folder_is_named_for_the_data(tmp_path, data, name):
    expected = tmp_path / "evaluation" / name
    assert usual_folder(tmp_path, data) == expected
    assert usual_folder(tmp_path / "classifier.safetensors", data) == expected
