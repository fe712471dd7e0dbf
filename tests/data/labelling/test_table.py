"""Files of labels, and what people save as such."""

import struct

import pyarrow
import pytest
from pyarrow import parquet

from ssl_swin.data.labelling.table import read_rows
from ssl_swin.errors import UserError

LATIN = pyarrow.Array.from_buffers(
    pyarrow.string(),
    1,
    [None, pyarrow.py_buffer(struct.pack("<ii", 0, 4)), pyarrow.py_buffer(b"K\xe4se")],
)


@pytest.fixture
def rows(tmp_path):
    def read(content, name="l.csv"):
        path = tmp_path / name
        if isinstance(content, pyarrow.Table):
            parquet.write_table(content, path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return [tuple(row) for row in read_rows(path, "labels=l")]

    return read


def test_a_csv_may_have_a_bom_crlf_quotes_other_columns_and_empty_lines(rows):
    text = '\ufefflabel,key,by\r\n"cat, grey",a/1,me\r\n\r\n"dog ""Rex""",b,\r\n'
    assert rows(text) == [("line 2", "a/1", "cat, grey"), ("line 4", "b", 'dog "Rex"')]
    assert rows("key\tlabel\na\tcat, grey\n") == [("line 2", "a", "cat, grey")]
    assert rows("key,label") == []


def test_parquet_may_hold_text_numbers_lists_and_nulls(rows):
    for labels in (["cat", None], [3, 4], [0.5, None], [["a", "b"], []], [[1.0, 2.0], [3.0, 4.0]]):
        table = pyarrow.table({"key": ["a", "b"], "label": labels, "x": [1, 2]})
        assert rows(table) == [("row 1", "a", labels[0]), ("row 2", "b", labels[1])]
    coded = pyarrow.table({"key": pyarrow.array(["a"]).dictionary_encode(), "label": [1]})
    assert rows(coded) == [("row 1", "a", 1)]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "has the columns none; give a CSV whose first line is key,label"),
        ("path,class\na,1\n", "has the columns 'path', 'class'; give"),
        ("key,label\na,cat, grey\n", "line 2, has 3 cells, and its first line names 2; put what"),
        ("key,label\na\n", "line 2, has 1 cells"),
        ("key,label,label\na,1,2\n", "has 2 columns label; leave one of them"),
        ('key,label\na,"cat\nb,dog\n', "is no CSV: unexpected end of data; save"),
        (
            'key,label\na,"' + "c" * 200_000 + '"\n',
            "is no CSV: field larger|has a cell of more than 100,000 characters; close",
        ),
        ("x" * 10_000_000, "has a line of more than 1,048,576 characters, so it is no list"),
        ('key,label\na,"' + "c" * 110_000 + '"\n', "has a cell of more than 100,000 characters"),
        ("key,label\n" + "x" * 10_000_000, "has a line of more than 1,048,576 characters"),
        (bytes(range(256)) * 100, "is neither Parquet nor text in UTF-8; save it as CSV in UTF-8"),
        ("key,label\na,Käse\n".encode("latin-1"), "is neither Parquet nor text in UTF-8"),
        ("key,label\na,\0\n", "holds bytes that are no text; save it"),
        (b"PAR1" + bytes(1000), "is damaged, or no Parquet: "),
        (b"PAR1", "is damaged, or no Parquet: "),
        (pyarrow.table({"key": [1], "label": [2]}), "its column key is of type int64; write"),
        (pyarrow.table({"key": [b"a"], "label": [2]}), "its column key is of type binary; write"),
        (pyarrow.table({"id": ["a"]}), "has the columns 'id'; give"),
        (pyarrow.table({"key": LATIN, "label": [1]}), "holds text that is not UTF-8; write it"),
        (pyarrow.table({"key": ["a"], "label": LATIN}), "holds text that is not UTF-8; write it"),
    ],
    ids=lambda one: str(one)[:20] if isinstance(one, str) else type(one).__name__,
)
def test_what_is_no_file_of_labels_is_refused_in_one_line(rows, content, why):
    with pytest.raises(UserError, match=rf"^labels=l.*({why})") as info:
        rows(content)
    assert "\n" not in str(info.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    for path in (tmp_path / "no.csv", tmp_path):
        with pytest.raises(UserError, match=r"^labels=l: "):
            list(read_rows(path, "labels=l"))


def test_no_more_than_some_rows_are_in_memory(tmp_path):
    path = tmp_path / "l.csv"
    path.write_text("key,label\n" + "a,1\n" * 100_000 + '"')
    rows = read_rows(path, "labels=l")
    assert next(rows).key == "a"  # what is wrong at its end is not known yet
