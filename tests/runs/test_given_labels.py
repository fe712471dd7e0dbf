"""Runs whose labels are in a file, or are names: they begin, go on, and are measured."""

import pytest

from ssl_swin.__main__ import run
from tests.conftest import TINY_MODEL
from tests.data.shards.tars import image_bytes, write_tar

pytestmark = pytest.mark.usefixtures("in_the_checkout")


def tars(folder, labels, first=0):
    """Two tars of images, with the content of `.cls` or None."""
    folder.mkdir()
    for tar in range(2):
        members = []
        for place in range(tar, len(labels), 2):
            members.append((f"s{first + place}.png", image_bytes(place)))
            if labels[place] is not None:
                members.append((f"s{first + place}.cls", labels[place].encode()))
        write_tar(folder / f"{tar}.tar", members)
    return folder


@pytest.fixture
def finetune(tmp_path):
    def start(*more, folder="run"):
        given = [
            f"--run-dir={tmp_path / folder}",
            "--model.img-size=32",
            "--model.window-size=4",
            "--training.global-batch-size=4",
            "--optim.epochs=1",
            "--training.accelerator=cpu",
            *TINY_MODEL,
        ]
        return run(["finetune", *given, *more])

    return start


@pytest.mark.usefixtures("short_timing")
def test_a_run_trains_on_what_a_file_labels_and_goes_on_with_the_same_labels_alone(
    finetune, tmp_path, capsys
):
    train = tars(tmp_path / "train", [None] * 12)
    val = tars(tmp_path / "val", [None] * 4, first=100)
    file = tmp_path / "labels.csv"
    rows = [f"s{n},{'cat' if n % 3 else 'ant'}\n" for n in (*range(10), 100, 101, 102, 999)]
    file.write_text("key,label\n" + "".join(rows))
    sets = [f"--data.shards={train}", f"--data.val-shards={val}", f"--data.labels={file}"]
    assert finetune(*sets, "--dry-run") == 0
    assert finetune(*sets) == 0
    said = capsys.readouterr().out
    assert f"num_classes=2, as many as {file} of {train} names: ant, cat" in said
    assert "2 of 12 images have no label" in said
    assert "1 of 4 images have no label" in said
    assert "1 of 14 keys are of no image, as 's999'" in said
    assert run(["evaluate", str(tmp_path / "run"), f"--data={val}", f"--labels={file}"]) == 0
    assert "3 images" in capsys.readouterr().out
    assert finetune(*sets, "--optim.epochs=2", folder="two") == 0
    file.write_text("key,label\n" + "".join(reversed(rows)))  # the same labels
    assert finetune(*sets, "--optim.epochs=2", folder="two") == 0
    file.write_text(file.read_text().replace("s3,ant", "s3,cat"))
    capsys.readouterr()
    assert finetune(*sets, "--optim.epochs=2", folder="two") == 2
    assert "the labels of the training shards changed" in capsys.readouterr().err


def test_names_in_tars_are_classes(finetune, tmp_path, capsys):
    train = tars(tmp_path / "train", ["cat", "ant", "bee"] * 4)
    val = tars(tmp_path / "val", ["bee", "ant"], first=100)
    assert finetune(f"--data.shards={train}", f"--data.val-shards={val}") == 0
    assert "sorted: ant, bee, cat" in capsys.readouterr().out
    assert run(["evaluate", str(tmp_path / "run"), f"--data={val}"]) == 0
    assert "2 images, 3 classes" in capsys.readouterr().out
    assert run(["shards", "verify", str(train), "--num-workers=1"]) == 0
    assert "labels: 3 classes, numbered 0 to 2" in capsys.readouterr().out
    assert run(["shards", "info", str(train)]) == 0
    assert "class 1 bee" in capsys.readouterr().out
