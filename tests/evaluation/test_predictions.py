import json
from contextlib import closing
from dataclasses import replace

import pytest

from ssl_swin.errors import UserError
from ssl_swin.evaluation.predictions import Origin, Predictions, StandardOutput
from ssl_swin.evaluation.rows import columns, row_of

NAMES = columns(1)
ORIGIN = Origin("runs/x", "c0", "i0", 3, 1, False)


def opened(path, names=NAMES, origin=ORIGIN, rows=()):
    """Open a file, add rows, and let go of it as a killed process does."""
    with closing(Predictions(path, names, origin)) as sink:
        sink.add(rows)
    return sink


ROWS = [row_of(f"{n}.png", [("cat", 0.5)]) if n else row_of("0.png", [], "cut") for n in range(3)]


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl"])
def test_a_file_grows_goes_on_and_is_whole_at_the_end(tmp_path, name):
    straight, path = tmp_path / f"straight.{name}", tmp_path / "new" / name
    with closing(Predictions(straight, NAMES, ORIGIN)) as whole:
        whole.add(ROWS)
        whole.finish()
    opened(path, rows=ROWS[:2])
    with path.open("a") as file:
        file.write('"half a li')
    with closing(Predictions(path, NAMES, ORIGIN)) as second:
        assert (second.tally.num_images, second.tally.num_broken) == (2, 1)
        assert not second.is_whole
        second.add(ROWS[2:])
        second.finish()
    assert path.read_bytes() == straight.read_bytes()
    third = opened(path, rows=())
    assert (third.tally.num_images, third.tally.num_broken, third.is_whole) == (3, 1, True)
    assert json.loads((path.parent / f"{name}.json").read_text()) == {
        "run": "runs/x",
        "classifier": "c0",
        "images": "i0",
        "num_images": 3,
        "top_k": 1,
        "flip": False,
        "broken": 1,
        "classes": {"cat": 2},
    }


def test_a_head_that_is_cut_off_is_written_again(tmp_path):
    opened(tmp_path / "p.csv")
    whole = (tmp_path / "p.csv").read_bytes()
    for num in range(len(whole)):
        (tmp_path / "p.csv").write_bytes(whole[:num])
        assert opened(tmp_path / "p.csv").tally.num_images == 0
        assert (tmp_path / "p.csv").read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"classifier": "c1"}, "another classifier (runs/x)"),
        ({"images": "i1"}, "other images (3 of them)"),
        ({"top_k": 2}, "top_k=1"),
        ({"flip": True}, "flip=False"),
    ],
)
def test_a_file_of_something_else_is_refused_and_kept(tmp_path, change, told):
    path = tmp_path / "p.csv"
    opened(path, rows=ROWS)
    before = path.read_bytes()
    with pytest.raises(UserError) as info:
        Predictions(path, NAMES, replace(ORIGIN, **change))
    assert told in str(info.value)
    assert "give another output" in str(info.value)
    assert path.read_bytes() == before


def test_a_file_that_predict_did_not_write_is_refused_and_kept(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("my notes\n")
    with pytest.raises(UserError, match="is there and no file of predict"):
        Predictions(path, NAMES, ORIGIN)
    assert path.read_text() == "my notes\n"


HEAD = "image,label,probability,error\n"


@pytest.mark.parametrize(
    "text",
    ["other,columns\n", f"{HEAD}x\n", f"{HEAD}{'x' * 200_000},cat,1,\n"],
    ids=["columns", "a row", "a field that csv does not read"],
)
def test_a_file_that_was_changed_is_refused_and_kept(tmp_path, text):
    path = tmp_path / "p.csv"
    opened(path)
    path.write_text(text)
    with pytest.raises(UserError, match="is not as predict left it"):
        Predictions(path, NAMES, ORIGIN)
    assert path.read_text() == text


def test_a_file_with_more_rows_than_images_is_refused(tmp_path):
    opened(tmp_path / "p.csv", rows=[*ROWS, *ROWS])
    with pytest.raises(UserError, match="is not as predict left it"):
        Predictions(tmp_path / "p.csv", NAMES, ORIGIN)


def test_two_processes_do_not_write_one_file(tmp_path):
    with closing(Predictions(tmp_path / "p.csv", NAMES, ORIGIN)) as one:
        with pytest.raises(UserError, match="another process writes to it"):
            Predictions(tmp_path / "p.csv", NAMES, ORIGIN)
        one.add(ROWS)


@pytest.mark.parametrize("name", ["p.xlsx", "p", "p.json"])
def test_an_ending_that_no_format_has_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=r"ends in \.csv, \.jsonl, \.parquet, or - for CSV"):
        Predictions(tmp_path / name, NAMES, ORIGIN)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_output(tmp_path):
    (tmp_path / "p.csv").mkdir()
    with pytest.raises(UserError, match=r"p\.csv"):
        Predictions(tmp_path / "p.csv", NAMES, ORIGIN)


def test_standard_output_has_one_head(capsys):
    sink = StandardOutput(NAMES)
    sink.add(ROWS[:1])
    sink.add(ROWS[1:])
    sink.finish()
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        *("image,label,probability,error", "0.png,,,cut", "1.png,cat,0.5,", "2.png,cat,0.5,"),
    ]
    assert sink.tally.num_images == 3
