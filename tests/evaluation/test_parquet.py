from contextlib import closing
from pathlib import Path

import pytest
from pyarrow import parquet

from ssl_swin.errors import UserError
from ssl_swin.evaluation.parquet import require_pyarrow, write_parquet
from ssl_swin.evaluation.predictions import Predictions
from ssl_swin.evaluation.rows import columns, row_of
from tests.evaluation.test_predictions import NAMES, ORIGIN, ROWS, opened


def test_without_pyarrow_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr("ssl_swin.evaluation.parquet.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'ssl-swin\[parquet\]'"):
        require_pyarrow(Path("p.parquet"))


def test_a_parquet_file_grows_as_lines_and_is_written_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("ssl_swin.evaluation.parquet._ROWS_AT_ONCE", 2)
    path, lines = tmp_path / "p.parquet", tmp_path / "p.parquet.rows.jsonl"
    opened(path, rows=ROWS[:2])
    assert lines.is_file()
    assert not path.exists()
    with closing(Predictions(path, NAMES, ORIGIN)) as sink:
        assert sink.tally.num_images == 2
        sink.add(ROWS[2:])
        sink.finish()
    assert not lines.exists()
    table = parquet.read_table(path)
    assert tuple(table.column_names) == NAMES
    assert str(table.schema.field("probability").type) == "double"
    assert table.to_pylist() == [{name: row.get(name) for name in NAMES} for row in ROWS]
    assert opened(path).is_whole


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "p.parquet"
    path.write_bytes(b"old")
    with pytest.raises(TypeError):
        write_parquet(path, [row_of("a", [("cat", 1.0)]), None], columns(1))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
