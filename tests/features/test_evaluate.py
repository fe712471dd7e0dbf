import csv
import json
import subprocess
import sys

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from ssl_swin.__main__ import run
from ssl_swin.features import few_labels, written
from ssl_swin.features.evaluate import usual_folder
from ssl_swin.features.measures import MEASURES
from ssl_swin.record.lines import read_json
from tests.features.painted import painted
from tests.toys.toy_measure import toy_measure

NAMES = ["red", "green", "blue"]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """A training set of 60 and a test set of 24 images; the names are in another order."""
    folder = tmp_path_factory.mktemp("sets")
    train = painted(folder / "train", [NAMES[place % 3] for place in range(60)], sorted(NAMES))
    test = painted(
        folder / "test", [NAMES[place * 7 % 3] for place in range(24)], NAMES, seed=1, broken={4}
    )
    return train, test


@pytest.fixture
def evaluate(sets, tmp_path):
    """Evaluate networks on the two sets; return the status."""

    def evaluate(*words, train=sets[0], test=sets[1], output=tmp_path / "out"):
        where = [f"--data={train}", f"--test={test}", f"--cache-dir={tmp_path / 'cache'}"]
        return run(["evaluate", *map(str, words), *where, "--device=cpu", f"-o{output}"])

    return evaluate


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_networks_are_held_against_each_other(encoder_run, evaluate, tmp_path, capsys):
    where = encoder_run()
    assert evaluate(where, "random") == 0
    out, told = tmp_path / "out", capsys.readouterr().out
    summary = read_json(out / "summary.json")
    mine, random = summary["subjects"]
    assert (mine["name"], random["name"]) == (where.name, "random")
    assert summary["kind"] == "frozen"
    assert [summary["train"][key] for key in ("images", "broken")] == [60, 0]
    assert [summary["test"][key] for key in ("images", "broken")] == [23, 1]
    for one in (mine, random):
        assert {f"knn{k}" for k in (1, 5, 10, 20)} < one["measures"].keys()
        assert one["measures"]["probe"] > 60  # colours are seen by any network
        assert [few["name"] for few in one["few_labels"]][-1] == "100 %"
    assert [(one["of"], one["from"]) for one in summary["differences"]] == [
        (where.name, "random"),
        (where.name, "random"),
    ]
    assert {path.name for path in out.iterdir()} == {
        *("summary.json", "table.md", "measures.csv", "per_class.csv"),
        *(f"confusion-{name}.png" for name in (where.name, "random")),
        *(f"neighbours-{name}.png" for name in (where.name, "random")),
    }
    rows = table(out / "per_class.csv")
    assert [row["class"] for row in rows] == [*sorted(NAMES), *sorted(NAMES)]
    assert sum(int(row["count"]) for row in rows) == 2 * 23  # one cannot be decoded
    measures = table(out / "measures.csv")
    assert float(measures[0]["probe"]) == mine["measures"]["probe"]
    assert float(measures[0]["probe, 1 per class"]) == mine["few_labels"][0]["mean"]
    assert f"| {where.name}" in (out / "table.md").read_text()
    for picture in out.glob("*.png"):
        with Image.open(picture) as image:
            assert min(image.size) > 400
    assert "intervals: 95 % over test images" in told
    assert f"ssl-swin finetune --encoder {where}" in told


def test_it_says_the_same_again_from_its_cache(encoder_run, evaluate, tmp_path, capsys):
    where = encoder_run()
    assert evaluate(where, "--measures=knn,probe") == 0
    first = (tmp_path / "out" / "summary.json").read_bytes()
    assert "are in the cache" not in capsys.readouterr().out
    assert evaluate(where, "--measures", "knn", "--measures", "probe") == 0
    assert (tmp_path / "out" / "summary.json").read_bytes() == first
    told = capsys.readouterr().out
    assert "are in the cache" in told
    assert f"ssl-swin evaluate {where} random" in told
    assert {*read_json(tmp_path / "out" / "summary.json")["subjects"][0]["measures"]} >= {"probe"}


def test_draws_are_the_same_for_every_network(encoder_run, evaluate, tmp_path, monkeypatch):
    monkeypatch.setattr(few_labels, "NUM_DRAWS", 2)
    where = encoder_run()
    assert evaluate(where, where, "--measures=few_labels") == 0
    one, other = read_json(tmp_path / "out" / "summary.json")["subjects"]
    assert one["few_labels"] == other["few_labels"]
    assert one["name"] != other["name"]
    other = tmp_path / "other"
    assert evaluate(where, "--measures=few_labels", "--seed=1", output=other) == 0
    (again,) = read_json(other / "summary.json")["subjects"]
    assert again["few_labels"] != one["few_labels"]


def test_another_question_does_not_replace_what_was_found(
    encoder_run, evaluate, sets, tmp_path, capsys
):
    where, other = encoder_run(), encoder_run(seed=1)
    fewer = painted(tmp_path / "fewer", [NAMES[place % 3] for place in range(30)], NAMES)
    assert evaluate(where, "--measures=knn") == 0
    before = (tmp_path / "out" / "summary.json").read_bytes()
    for words, train, told in (
        ([where, "--layer=stage1"], sets[0], "layer=last"),
        ([where, "--seed=1"], sets[0], "seed=0"),
        ([where, "--flip"], sets[0], "flip=False"),
        ([where], fewer, f"other training images ({sets[0]})"),
        ([other], sets[0], f"networks that are not named now ({where.name})"),
        ([where, "--measures=collapse"], sets[0], "more measures (knn)"),
    ):
        words = words if "--measures=collapse" in words else [*words, "--measures=knn"]
        assert evaluate(*words, train=train) == 2
        said = capsys.readouterr().err
        assert f"holds an evaluation with {told}; give another folder, -o, or remove it" in said
        assert said.count("error: ") == 1
        assert (tmp_path / "out" / "summary.json").read_bytes() == before
    assert evaluate(where, "random", "--measures=knn,collapse") == 0  # more of the same
    assert len(read_json(tmp_path / "out" / "summary.json")["subjects"]) == 2


def test_a_classifier_is_not_measured_by_several(tmp_path, monkeypatch, capsys):
    for name, value in {"WORLD_SIZE": 2, "RANK": 1, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert run(["evaluate", str(tmp_path / "run"), "--data", str(tmp_path)]) == 2
    assert "measured by one process, not by 2; start one" in capsys.readouterr().err


def test_a_new_measure_is_a_file_and_a_line(encoder_run, evaluate, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(MEASURES, "toy", toy_measure)
    assert evaluate(encoder_run(), "--measures=toy") == 0
    (subject,) = read_json(tmp_path / "out" / "summary.json")["subjects"]
    assert subject["measures"] == {"toy": 60.0}
    assert "toy" in capsys.readouterr().out
    assert evaluate(encoder_run(), "--measures=tyo") == 2
    assert "did you mean toy?" in capsys.readouterr().err


def test_all_is_extracted_before_anything_is_measured(encoder_run, evaluate, tmp_path, monkeypatch):
    whole = []

    def count(features):
        whole.append(len([*(tmp_path / "cache/features").glob("*/features.json")]))
        return toy_measure(features)

    monkeypatch.setitem(MEASURES, "toy", count)
    assert evaluate(encoder_run(seed=3), "random", "--measures=toy") == 0
    assert whole == [4, 4]  # other processes have nothing to wait for


def test_a_layer_that_the_second_lacks_is_said_before_the_first_is_computed(
    encoder_run, evaluate, vit, tmp_path, capsys
):
    assert evaluate(f"timm:test_vit:{vit[1]}", encoder_run(), "--layer=stage3") == 2
    assert "layer=stage3 is none of this network" in capsys.readouterr().err
    assert not list((tmp_path / "cache").glob("features/*"))


def test_pictures_of_neighbours_hold_no_whole_image(encoder_run, evaluate, monkeypatch):
    held, draw = [], written.draw_neighbours

    def drawn(queries, title):
        for query in queries:
            held.extend(one.image.size for one in (query, *query.neighbours))
        return draw(queries, title)

    monkeypatch.setattr(written, "draw_neighbours", drawn)
    assert evaluate(encoder_run(), "--measures=knn") == 0
    assert held == [(192, 192)] * 90


def test_features_that_are_not_finite_are_one_line(encoder_run, evaluate, tmp_path, capsys):
    where = encoder_run()
    path = tmp_path / "broken.safetensors"
    with (where / "encoder.safetensors").open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        metadata = json.loads(file.read(size))["__metadata__"]
    state = load_file(where / "encoder.safetensors")
    state["backbone.norm.weight"].fill_(3e38)  # a number, but features overflow
    save_file(state, path, metadata)
    assert evaluate(path) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "are not finite, so its weights are broken" in said


def test_what_cannot_be_measured_is_one_line(encoder_run, evaluate, sets, tmp_path, capsys):
    where, (_train, _test) = encoder_run(), sets
    bare = painted(tmp_path / "bare", [None] * 3)
    alone = painted(tmp_path / "alone", ["red"] * 3, NAMES)
    for words, sets_, told in (
        ([where], {"test": bare}, "has no labels"),
        ([where], {"train": alone}, "one class only"),
        ([where], {"test": tmp_path}, "matches no tar"),
        ([where, "--layer=nothing"], {}, "layer=nothing"),
        ([where, "--seed=-1"], {}, "seed=-1 draws nothing"),
        ([where, "--img-size=0"], {}, "img_size=0 has no pixel"),
        ([tmp_path / "nothing"], {}, "nothing"),
        ([bare], {}, "bare"),
        ([], {}, "nothing is named"),
    ):
        assert evaluate(*words, **sets_) == 2, told
        said = capsys.readouterr().err
        assert told in said
        assert said.count("error: ") == 1
        assert said.splitlines()[-1].startswith("error: ")
    assert evaluate(where, output=where / "encoder.safetensors") == 2
    assert not (tmp_path / "out" / "summary.json").exists()


@pytest.mark.parametrize("what", ["run", "file", "random", "timm:test_vit", "both"])
def test_an_encoder_without_a_test_set_is_told_what_to_type(encoder_run, sets, capsys, what):
    where = encoder_run()
    given = {"run": [where], "file": [where / "encoder.safetensors"], "both": [where, "random"]}
    words = [str(one) for one in given.get(what, [what])]
    assert run(["evaluate", *words, f"--data={sets[0]}"]) == 2
    said = capsys.readouterr().err
    assert f"ssl-swin evaluate {' '.join(words)} --data {sets[0]} --test TEST" in said
    assert said.count("\n") == 1


def test_its_folder_is_in_the_first_run_folder_that_is_named(tmp_path):
    (tmp_path / "run").mkdir()
    what = ["random", "timm:x", str(tmp_path / "run")]
    assert str(usual_folder(what, "shards/mine/test")) == "evaluation-test"
    (tmp_path / "run" / "config.yaml").touch()
    assert usual_folder(what, "mine/test") == tmp_path / "run" / "evaluation" / "frozen-test"


def test_a_signal_ends_it_at_once(encoder_run, sets, tmp_path):
    words = [
        "evaluate",
        str(encoder_run()),
        "--measures=probe",
        f"--data={sets[0]}",
        f"--test={sets[1]}",
    ]
    stopped = """
import os, signal, threading
from ssl_swin.__main__ import main
from ssl_swin.features.measures import MEASURES
def asked(features):
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait()
MEASURES["probe"] = asked
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", stopped, *words, f"--cache-dir={tmp_path}", f"-o{tmp_path / 'out'}"],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 75
    assert "stopped by SIGTERM: features that are computed are kept" in done.stderr
    assert not (tmp_path / "out" / "summary.json").exists()
