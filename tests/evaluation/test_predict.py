import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ssl_swin.__main__ import run
from ssl_swin.evaluation.predict import describe_counts
from ssl_swin.pretrained.classifier import open_classifier
from tests.data.remote.faulty import serving

pytestmark = pytest.mark.usefixtures("in_the_checkout")


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_images_get_names_probabilities_and_reasons(classifier_run, photos, tmp_path, capsys):
    folder, where, output = photos(6, broken={4}), classifier_run(), tmp_path / "out" / "p.csv"
    assert run(["predict", str(where), "-o", str(output), str(folder), "--top_k", "2"]) == 0
    rows, classes = rows_of(output), open_classifier(where).card.classes
    assert [row["image"] for row in rows] == [str(folder / f"00{n}.png") for n in range(6)]
    for place, row in enumerate(rows):
        if place == 4:
            assert row["label"] == row["probability_2"] == ""
            assert "UnidentifiedImageError" in row["error"]
            continue
        assert {row["label"], row["label_2"]} < set(classes)
        assert 1 >= float(row["probability"]) >= float(row["probability_2"]) >= 0
    told = capsys.readouterr().out
    assert f"{output}: 6 images, 1 of them broken" in told
    assert f"warning: broken images: 1; see the column error; the first is {folder}" in told
    assert f"ssl-swin evaluate {where} --data SHARDS" in told
    for name in {row["label"] for row in rows} - {""}:
        assert f"  {name}" in told


def test_a_shard_and_its_files_get_the_same_answers(classifier_run, tiny_shards, tmp_path):
    from tests.conftest import png

    shards, folder, where = tiny_shards([5, 4], mode="RGB"), tmp_path / "files", classifier_run()
    folder.mkdir()
    for number in range(9):
        (folder / f"{number:06d}.png").write_bytes(png(number, mode="RGB"))
    for name, source in (("a", shards), ("b", folder)):
        assert run(["predict", str(where), str(source), f"-o{tmp_path / name}.jsonl"]) == 0
    first, second = (
        [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in "ab"
    )
    assert [row.pop("image") for row in first] == [f"{number:06d}" for number in range(9)]
    assert all(row.pop("image") for row in second)
    assert first == second
    assert len({row["probability"] for row in first}) == 9


def test_without_a_file_csv_is_printed_and_nothing_else(classifier_run, photos, capsys):
    assert run(["predict", str(classifier_run()), str(photos(3))]) == 0
    said = capsys.readouterr()
    rows = list(csv.DictReader(said.out.splitlines()))
    assert len(rows) == 3
    assert "standard output: 3 images, 0 of them broken" in said.err


def test_what_is_whole_is_not_done_again(classifier_run, photos, tmp_path, capsys):
    words = ["predict", str(classifier_run()), str(photos(3)), "-o", str(tmp_path / "p.csv")]
    assert run(words) == 0
    before = (tmp_path / "p.csv").stat().st_mtime_ns
    capsys.readouterr()
    assert run(words) == 0
    assert (tmp_path / "p.csv").stat().st_mtime_ns == before
    told = capsys.readouterr().out
    assert "3 images, 3 of them done before" in told
    assert "nothing was left to do" in told


PREDICT = "import sys; from ssl_swin.__main__ import main; main()"


@pytest.mark.parametrize(
    ("how", "status"), [("SIGKILL", -9), pytest.param("SIGINT", 75, marks=pytest.mark.slow)]
)
def test_a_stopped_one_goes_on_and_ends_with_the_same_file(
    classifier_run, photos, tmp_path, how, status
):
    before, far, after = (
        photos(*each) for each in ((20, {7}, "before"), (1, (), "far"), (9, {3}, "after"))
    )
    output, straight = tmp_path / "p.csv", tmp_path / "straight.csv"
    with serving(far) as server:
        images = [str(before), f"{server.url}/000.png", str(after)]
        common = ["predict", str(classifier_run()), *images, "--batch_size=2", "--num_workers=0"]
        assert run([*common, f"--output={straight}"]) == 0
        server.faults["000.png"] = [("stall", 10)]
        words = [sys.executable, "-c", PREDICT, *common, "-o", str(output)]
        process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        while not (output.exists() and len(output.read_bytes().splitlines()) > 20):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(getattr(signal, how))
        _, said = process.communicate(timeout=60)
        assert process.returncode == status
        if status == 75:
            assert f"stopped by {how}: 20 of 30 images are in {output}; the same command" in said
        with output.open("a") as file:
            file.write(f"{server.url}/000.png,ca")
        server.faults["000.png"] = [None]
        assert run([*common, "-o", str(output)]) == 0
    assert output.read_bytes() == straight.read_bytes()


@pytest.mark.slow
def test_a_loader_process_that_is_killed_is_one_line(classifier_run, photos):
    far = photos(1, folder="far")
    with serving(far) as server:
        server.faults["000.png"] = [("stall", 10)]
        words = ["predict", str(classifier_run()), f"{server.url}/000.png", "--num-workers=1"]
        command = [sys.executable, "-m", "ssl_swin", *words]
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        own = Path(f"/proc/{process.pid}/cmdline")
        children: list[str] = []
        while not children:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
            found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            children = [
                one
                for one in found
                if Path(f"/proc/{one}/cmdline").read_bytes() == own.read_bytes()
            ]
        os.kill(int(children[0]), signal.SIGKILL)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in said
    assert "error: DataLoader worker" in said
    assert said.endswith("Start again, and give fewer --num-workers.\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--top_k=4"], "top_k=4: give 1 to 3, the classes of this classifier"),
        (["--top_k=0"], "top_k=0: give 1 to 3"),
        (["-o", "p.xls"], "output=p.xls has no known ending"),
        (["--device=tpu"], "device=tpu is unknown"),
        (["--batch_size=0"], "batch_size=0 computes nothing"),
        (["--outptu=x"], "unknown option --outptu; did you mean"),
        (["none.jpg"], "none.jpg: there is no such image"),
    ],
)
def test_what_does_not_fit_is_one_line_and_writes_nothing(
    classifier_run, photos, capsys, words, told
):
    folder = photos(1)
    assert run(["predict", str(classifier_run()), str(folder), *words]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1
    assert sorted(path.name for path in folder.parent.iterdir()) == ["photos"]


def test_another_classifier_or_other_images_do_not_go_on(classifier_run, photos, tmp_path, capsys):
    folder, output = photos(2), tmp_path / "p.csv"
    assert run(["predict", str(classifier_run()), str(folder), "-o", str(output)]) == 0
    before = output.read_bytes()
    others = (
        [str(classifier_run(seed=1)), str(folder)],
        [str(classifier_run()), str(folder / "*0.png")],
    )
    for words, told in zip(others, ("another classifier", "other images (2"), strict=True):
        assert run(["predict", *words, "-o", str(output)]) == 2
        assert f"holds predictions of {told}" in capsys.readouterr().err
    assert output.read_bytes() == before


def test_a_place_without_a_classifier_says_so(photos, tmp_path, capsys):
    assert run(["predict", str(tmp_path / "none"), str(photos(1))]) == 2
    assert "there is no such run folder or file" in capsys.readouterr().err


def test_of_many_classes_the_most_frequent_are_shown():
    lines = list(describe_counts([(f"class {n}" * (1 + 20 * (n == 3)), 30 - n) for n in range(13)]))
    assert len(lines) == 11
    assert lines[-1] == "  57 of other classes (3)"
    assert all(len(line) <= 80 for line in lines)
    assert list(describe_counts([])) == []
