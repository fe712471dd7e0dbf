import csv
import json

import pytest

from ssl_swin.evaluation.rows import Csv, JsonLines, Tally, columns, csv_line, one_line, row_of

NAMES = columns(2, "is")
ROWS = [
    row_of('a "b", c.png', [("cat, large", 0.75), ("Hündin", 0.25)], **{"is": "cat"}),
    row_of("d\ne\r\udcff.png", [], "OSError: cut\noff"),
]


def test_columns_are_named_for_their_rank():
    assert columns(1) == ("image", "label", "probability", "error")
    assert (*("image", "is", "label", "probability", "label_2", "probability_2", "error"),) == NAMES


@pytest.mark.parametrize("text", [Csv(), JsonLines()], ids=["csv", "jsonl"])
def test_a_row_is_one_line_and_comes_back(text):
    for row in ROWS:
        line = text.line(row, NAMES)
        assert line.endswith("\n")
        assert line.count("\n") == 1
        assert "\r" not in line
        back = text.row(line.encode().decode(), NAMES)
        for name in NAMES:
            expected = row.get(name)
            assert back[name] in (expected, "" if expected is None else str(expected))


def test_csv_has_a_head_that_any_reader_knows():
    text = Csv().head(NAMES) + "".join(Csv().line(row, NAMES) for row in ROWS)
    first, second = csv.DictReader(text.splitlines())
    assert (first["image"], first["label"], first["label_2"]) == (
        'a "b", c.png',
        "cat, large",
        "Hündin",
    )
    assert float(first["probability"]) == 0.75
    assert (second["label"], second["error"]) == ("", "OSError: cut\\noff")
    assert second["image"] == "d\\ne\\r\\udcff.png"


def test_json_lines_have_every_column():
    first, second = (json.loads(JsonLines().line(row, NAMES)) for row in ROWS)
    assert tuple(first) == tuple(second) == NAMES
    assert first["error"] is None
    assert second["probability"] is None


@pytest.mark.parametrize("line", ["{}", "[]", "{", '{"image": 1}'])
def test_a_line_of_something_else_is_refused(line):
    with pytest.raises(ValueError):  # noqa: PT011
        JsonLines().row(line, NAMES)


def test_probabilities_are_rounded_and_not_to_nothing():
    row = row_of("a", [("cat", 0.123456789), ("dog", 1.23456789e-9)])
    assert (row["probability"], row["probability_2"]) == (0.123457, 1.23457e-9)


def test_a_tally_counts_classes_and_broken_images():
    tally = Tally()
    tally.add([*ROWS, row_of("x", [("cat, large", 1.0)])])
    assert dict(tally.classes) == {"cat, large": 2}
    assert (tally.num_broken, tally.num_images) == (1, 3)
    assert tally.first_broken == "d\\ne\\r\\udcff.png: OSError: cut\\noff"


def test_one_line_leaves_what_is_one_alone():
    assert one_line("two  spaces, Hündin 日本") == "two  spaces, Hündin 日本"
    assert csv_line([None, 1]) == ",1\n"
