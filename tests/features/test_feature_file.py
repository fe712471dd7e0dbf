import json

import numpy as np
import pytest
from pyarrow import parquet

from ssl_swin.errors import UserError
from ssl_swin.features import feature_file
from ssl_swin.features.feature_file import FeatureTable, check_output, write_features
from ssl_swin.features.store import Features

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)
VALUES[2] = np.nan
FOUND = Features(VALUES, np.array([True, True, False, True]))
ORIGIN = {"layer": "last", "network": "0"}
TABLE = FeatureTable(list("abcd"), [1, None, 0, 2], ("cat", "dog"), FOUND)


@pytest.mark.parametrize("rows", [2, 100])
def test_parquet_has_a_list_of_float32_for_each_image(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(feature_file, "_ROWS_AT_ONCE", rows)
    path = tmp_path / "new" / "a.parquet"
    check_output(path, ORIGIN)
    write_features(path, TABLE, ORIGIN)
    found = parquet.read_table(path)
    assert str(found.schema.field("features").type) == "list<element: float>"
    assert found.to_pydict() == {
        "key": ["a", "b", "c", "d"],
        "label": [1, None, 0, 2],
        "class": ["dog", None, "cat", None],
        "features": [[0, 1, 2], [3, 4, 5], None, [9, 10, 11]],
    }
    check_output(path, ORIGIN)  # the same once more


def test_an_array_has_its_rows_named_beside_it(tmp_path):
    write_features(tmp_path / "a.npy", TABLE, ORIGIN)
    assert np.array_equal(np.load(tmp_path / "a.npy"), VALUES, equal_nan=True)
    told = json.loads((tmp_path / "a.json").read_text())
    assert told["keys"] == ["a", "b", "c", "d"]
    assert (told["labels"], told["classes"]) == ([1, None, 0, 2], ["cat", "dog"])
    assert (told["broken"], told["origin"]) == ([2], ORIGIN)
    check_output(tmp_path / "a.npy", ORIGIN)


def test_images_without_labels_have_no_such_columns(tmp_path):
    write_features(tmp_path / "a.parquet", FeatureTable(list("abcd"), None, None, FOUND), ORIGIN)
    assert parquet.read_schema(tmp_path / "a.parquet").names == ["key", "features"]


@pytest.mark.parametrize("ending", ["npy", "parquet"])
def test_a_file_of_something_else_is_not_replaced(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    write_features(path, TABLE, ORIGIN | {"layer": "stage1"})
    before = path.read_bytes()
    with pytest.raises(UserError, match="holds something else"):
        check_output(path, ORIGIN)
    path.write_bytes(b"somebody's own")
    path.with_suffix(".json").unlink(missing_ok=True)
    with pytest.raises(UserError, match="holds something else"):
        check_output(path, ORIGIN)
    assert before


@pytest.mark.parametrize("text", ['{"mine": "precious"}', "no JSON", '{"origin": {"layer": "x"}}'])
def test_a_json_of_somebody_else_is_not_replaced(tmp_path, text):
    (tmp_path / "notes.json").write_text(text)
    with pytest.raises(UserError, match=r"notes\.json holds something else"):
        check_output(tmp_path / "notes.npy", ORIGIN)
    check_output(tmp_path / "notes.parquet", ORIGIN)  # has none beside it


def test_a_kill_between_the_two_files_locks_nobody_out(tmp_path, monkeypatch):
    def killed(file, values):  # noqa: ARG001
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        write_features(tmp_path / "a.npy", TABLE, ORIGIN)
    assert not (tmp_path / "a.npy").exists()
    assert (tmp_path / "a.json").exists()
    check_output(tmp_path / "a.npy", ORIGIN)


def test_names_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"must end in .npy or .parquet"):
        check_output(tmp_path / "a.csv", ORIGIN)
    (tmp_path / "b.npy").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        check_output(tmp_path / "b.npy", ORIGIN)
