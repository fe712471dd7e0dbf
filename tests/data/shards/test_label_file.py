import numpy as np
import pytest

from ssl_swin.data.batches.labels import all_labels
from ssl_swin.data.open import index_anew, open_shards
from ssl_swin.data.shards.index_file import CLS_LABEL, JSON_LABEL, NO_LABEL
from ssl_swin.data.shards.label_file import (
    MISSING,
    UNUSABLE,
    parse_label,
    parse_labels,
    write_labels,
)
from tests.data.shards.tars import image_bytes, samples, write_tar


@pytest.mark.parametrize(
    ("kind", "text", "label"),
    [
        (CLS_LABEL, b"7", 7),
        (CLS_LABEL, b" 12\n", 12),
        (CLS_LABEL, b"-1", UNUSABLE),
        (CLS_LABEL, b"cat", UNUSABLE),
        (CLS_LABEL, b"9" * 30, UNUSABLE),
        (JSON_LABEL, b'{"label": 3}', 3),
        (JSON_LABEL, b'{"label": true}', UNUSABLE),
        (JSON_LABEL, b'{"other": 3}', UNUSABLE),
        (JSON_LABEL, b"[" * 100_000, UNUSABLE),
        (NO_LABEL, b"", MISSING),
    ],
)
def test_a_label_is_a_class_or_one_of_two_reasons(kind, text, label):
    assert parse_label(kind, text, "label") == label


def test_what_is_damaged_or_of_another_index_or_field_counts_as_none(tmp_path):
    write_tar(tmp_path / "a.tar", [("x.png", b"1"), ("x.json", b'{"label": 1, "k": 2}')])
    rows = open_shards(str(tmp_path)).storage.rows(0)
    path = tmp_path / "a.tar.labels"
    write_labels(path, rows, "label", np.array([1]))
    whole = path.read_bytes()
    assert parse_labels(whole, rows, "label").tolist() == [1]
    assert parse_labels(whole, rows, "k") is None
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        assert parse_labels(bytes(damaged), rows, "label") is None
        assert parse_labels(whole[:place], rows, "label") is None
    moved = rows.copy()
    moved["label_offset"] += 512
    assert parse_labels(whole, moved, "label") is None


def test_indexing_keeps_the_labels_and_indexing_anew_reads_them_again(tmp_path):
    tar, kept = tmp_path / "a.tar", tmp_path / "a.tar.labels"
    write_tar(tar, samples(12))
    assert all_labels(open_shards(str(tmp_path)), "label").tolist() == [*range(10), 0, 1]
    made = kept.stat().st_ino
    assert all_labels(open_shards(str(tmp_path)), "label").tolist() == [*range(10), 0, 1]
    assert kept.stat().st_ino == made  # nothing was read again
    tar.write_bytes(tar.read_bytes().replace(b"7" + bytes(511), b"8" + bytes(511)))
    index_anew(str(tmp_path), 1, None)
    assert all_labels(open_shards(str(tmp_path)), "label").tolist()[6:9] == [6, 8, 8]


def test_an_older_index_gets_a_label_file_and_a_field_is_read_once(tmp_path):
    image = image_bytes(0)
    members = [("a.png", image), ("a.json", b'{"k": 4, "label": 1}'), ("b.png", image)]
    write_tar(tmp_path / "a.tar", [*members, ("c.png", image), ("c.cls", b"2")])
    write_tar(tmp_path / "b.tar", samples(2))
    shards = open_shards(str(tmp_path))
    assert not (tmp_path / "a.tar.labels").exists()
    (tmp_path / "b.tar.labels").unlink()  # as 0.1 left it
    for field, first in (("k", 4), ("label", 1), ("none", UNUSABLE), ("k", 4)):
        assert all_labels(shards, field).tolist() == [first, MISSING, 2, 0, 1]
        assert (tmp_path / "a.tar.labels").exists()
    assert (tmp_path / "b.tar.labels").exists()


def test_without_labels_there_is_no_file(tmp_path):
    write_tar(tmp_path / "a.tar", samples(2, labelled=False))
    assert all_labels(open_shards(str(tmp_path)), "label").tolist() == [MISSING, MISSING]
    assert not (tmp_path / "a.tar.labels").exists()
