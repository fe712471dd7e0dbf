"""Fine-tunings with several classes of an image, or numbers: trained, measured, asked."""

import csv
import json

import numpy as np
import pytest

from ssl_swin.__main__ import run
from ssl_swin.config.data import LabelledDataConfig
from ssl_swin.config.optim import FinetuneOptimConfig
from ssl_swin.config.run import FinetuneConfig
from ssl_swin.data.shards.given import GivenLabels
from ssl_swin.errors import UserError
from ssl_swin.pretrained.classifier import open_classifier
from ssl_swin.runs.tasks import task_of
from ssl_swin.training.tasks import Numbers, SeveralClasses
from tests.conftest import TINY_MODEL
from tests.data.shards.tars import image_bytes, write_tar

NO_MIXING = FinetuneOptimConfig(mixup=0.0, cutmix=0.0, label_smoothing=0.0)


def config(task, **more):
    return FinetuneConfig("runs/a", LabelledDataConfig("shards"), task=task, **more)


def scaled(*std):
    none = np.empty(0)
    return GivenLabels("regression", none, none, none, scale=((0.0,) * len(std), std))


def test_a_config_says_what_is_learned():
    assert task_of(config("single-label"), None) is None
    assert isinstance(task_of(config("multi-label"), None), SeveralClasses)
    numbers = config("regression", optim=NO_MIXING, regression_loss="l1")
    assert task_of(numbers, scaled(2.0)) == Numbers("l1", (2.0,))


def test_numbers_are_not_mixed():
    with pytest.raises(UserError, match=r"^optim.mixup=0.8, .*=0.1: a mixed image has no number"):
        task_of(config("regression"), scaled(2.0))


def test_a_part_that_is_balanced_over_classes_needs_one_of_each_image():
    data = LabelledDataConfig("shards", num_labels=10)
    with pytest.raises(UserError, match="num_labels=10 draws as many images of each class"):
        FinetuneConfig("runs/a", data, task="multi-label")


@pytest.fixture
def finetuned(tmp_path, in_the_checkout):  # noqa: ARG001
    """A run of a few steps on two tars whose `.json` holds these labels, and its held-out tar."""

    def start(task, labels, *more):
        for name, some in (("train", labels), ("val", labels[:5])):
            (tmp_path / name).mkdir(exist_ok=True)
            members = []
            for place, label in enumerate(some):
                members.append((f"{name}{place}.png", image_bytes(place)))
                if label is not None:
                    text = json.dumps({"label": label}).encode()
                    members.append((f"{name}{place}.json", text))
            write_tar(tmp_path / name / "0.tar", members)
        given = [
            f"--run-dir={tmp_path / 'run'}",
            f"--task={task}",
            f"--data.shards={tmp_path / 'train'}",
            f"--data.val-shards={tmp_path / 'val'}",
            "--model.img-size=32",
            "--model.window-size=4",
            "--training.global-batch-size=4",
            "--optim.epochs=1",
            "--training.accelerator=cpu",
            *TINY_MODEL,
        ]
        return run(["finetune", *given, *more]), tmp_path / "run", tmp_path / "val"

    return start


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_several_classes_are_learned_measured_and_predicted(finetuned, tmp_path, capsys):
    labels = [["cat", "ant"], [], ["ant"], ["bee"], ["bee", "cat"], None] * 2
    status, folder, val = finetuned("multi-label", labels, "--optim.mixup=0.5")
    said = capsys.readouterr().out
    assert status == 0, said
    assert "num_classes=3" in said
    assert "2 of 12 images have no label" in said
    assert "mAP" in said
    card = open_classifier(folder).card
    assert (card.task, card.classes) == ("multi-label", ("ant", "bee", "cat"))
    assert run(["evaluate", str(folder), f"--data={val}"]) == 0
    said = capsys.readouterr().out
    assert "5 images, 3 classes, any of which may be there" in said
    assert "macro F1" in said
    summary = json.loads((folder / "evaluation" / "val" / "summary.json").read_text())
    assert (summary["task"], summary["images"]) == ("multi-label", 5)
    assert 0 <= summary["map"] <= 100
    rows = rows_of(folder / "evaluation" / "val" / "images.csv")
    assert [row["is"] for row in rows] == ["ant;cat", "", "ant", "bee", "bee;cat"]
    for end in ("csv", "parquet"):
        output = tmp_path / f"p.{end}"
        assert run(["predict", str(folder), str(val), "-o", str(output)]) == 0
    (first, *_) = rows_of(tmp_path / "p.csv")
    shares = {name: float(first[f"probability of {name}"]) for name in card.classes}
    assert first["labels"] == ";".join(name for name, share in shares.items() if share >= 0.5)
    capsys.readouterr()
    assert run(["predict", str(folder), str(val), "--top-k=1"]) == 2
    assert "this network is of the task multi-label" in capsys.readouterr().err


@pytest.mark.parametrize("width", [1, 2])
def test_numbers_are_learned_measured_and_predicted_in_their_own_units(
    finetuned, tmp_path, capsys, width
):
    labels = [[1000.0 + 10 * n, -float(n)][:width] for n in range(12)]
    labels = [one[0] for one in labels] if width == 1 else labels
    status, folder, val = finetuned("regression", labels)
    said = capsys.readouterr().out
    assert status == 0, said
    assert "1055 ± 34.52" in said
    assert "MAE" in said
    card = open_classifier(folder).card
    names = ("value",) if width == 1 else ("value_1", "value_2")
    assert (card.task, card.classes) == ("regression", names)
    assert card.target_mean[0] == 1055.0
    assert run(["evaluate", str(folder), f"--data={val}"]) == 0
    assert "RMSE" in capsys.readouterr().out
    rows = rows_of(folder / "evaluation" / "val" / "images.csv")
    known = [float(row[f"is {names[0]}"]) for row in rows]
    assert known == [1000.0, 1010.0, 1020.0, 1030.0, 1040.0]
    summary = json.loads((folder / "evaluation" / "val" / "summary.json").read_text())
    errors = np.array([float(row[names[0]]) for row in rows]) - known
    assert width == 2 or abs(summary["mae"] - np.abs(errors).mean()) < 1e-2
    assert run(["predict", str(folder), str(val), "-o", str(tmp_path / "p.jsonl")]) == 0
    assert run(["predict", str(folder), str(val), "-o", str(tmp_path / "p.jsonl")]) == 0
    (first, *_) = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert 800 < first[names[0]] < 1300


@pytest.mark.parametrize(
    ("task", "labels", "why"),
    [
        ("regression", [1.0, float("nan"), 2.0, 3.0], "nan is no finite number"),
        ("regression", [1.0] * 8, "all training images have the number 1"),
        ("regression", [[1.0, 2.0], 3.0] * 4, "it has 1 numbers, and those before have 2"),
        ("multi-label", [None] * 8, "label of the task multi-label"),
        ("multi-label", [["ant", "ant"]] * 8, "it names a class twice"),
    ],
)
def test_a_run_with_other_labels_than_its_task_needs_is_refused(
    finetuned, capsys, task, labels, why
):
    assert finetuned(task, labels)[0] == 2
    said = capsys.readouterr().err
    assert why in said
    assert said.count("\n") == 1


def test_a_run_that_goes_on_is_the_run_that_never_stopped(finetuned, tmp_path):
    labels = [[1000.0 + n, -(float(n) ** 2)] for n in range(8)]
    whole = "--optim.epochs=2", "--training.checkpoint-every-steps=2"
    assert finetuned("regression", labels, *whole)[0] == 0
    folder = tmp_path / "run"
    ended = open_classifier(folder).classifier.state_dict()
    begun = tmp_path / "begun"
    (begun / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "previous.ckpt").rename(begun / "checkpoints" / "last.ckpt")
    assert finetuned("regression", labels, *whole, f"--run-dir={begun}")[0] == 0
    for name, value in open_classifier(begun).classifier.state_dict().items():
        assert (value == ended[name]).all()
