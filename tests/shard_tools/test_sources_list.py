import csv
import hashlib
import tarfile

from ssl_swin.shard_tools.assign import PackOptions
from ssl_swin.shard_tools.create import create
from ssl_swin.shard_tools.select import Selection
from tests.data.shards.tars import image_bytes


def rows_of(out):
    with (out / "sources.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_packed_image_has_a_row_that_names_its_file(source, packed_names, tmp_path):
    (source / "cat" / "a b.png").write_bytes(image_bytes(50))
    (source / "cat" / "a\tb.png").write_bytes(b"no image")  # prints as the one before
    create(source, tmp_path / "out", PackOptions(samples_per_shard=3), 1, max_bad_share=0.5)
    rows = rows_of(tmp_path / "out")
    assert sorted(row["file"] for row in rows) == sorted([*packed_names, "cat/a b.png"])
    for row in rows:
        with tarfile.open(tmp_path / "out" / row["shard"]) as tar:
            names = [name for name in tar.getnames() if ".cls" not in name]
            members = {name.partition(".")[0]: name for name in names}
            found = tar.extractfile(members[row["key"]]).read()
            label = tar.extractfile(f"{row['key']}.cls").read().decode()
        assert found == (source / row["file"]).read_bytes()
        assert (row["label"], row["class"]) == (label, row["file"].split("/")[0])
        assert (row["split"], row["group"]) == ("", "")


def test_names_that_are_not_utf_8_are_escaped(tmp_path):
    (tmp_path / "in").mkdir()
    with open(bytes(tmp_path / "in") + b"/caf\xe9.png", "wb") as file:
        file.write(image_bytes(0))
    create(tmp_path / "in", tmp_path / "out", PackOptions(), 1)
    (row,) = rows_of(tmp_path / "out")
    assert row["file"] == r"caf\udce9.png"
    assert row["class"] == row["label"] == ""


def test_a_split_is_named_with_its_shards(source, tmp_path):
    create(source, tmp_path / "out", PackOptions(), 1, selection=Selection(split="val=0.3"))
    rows = rows_of(tmp_path / "out")
    assert {(row["split"], row["shard"]) for row in rows} == {
        ("train", "train/train-000000.tar"),
        ("val", "val/val-000000.tar"),
    }
    sums = [hashlib.sha256((source / row["file"]).read_bytes()).digest() for row in rows]
    assert len(set(sums)) == len(sums) == 10
