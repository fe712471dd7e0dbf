import io
import tarfile

import numpy as np
import pytest

from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.index_file import (
    SAMPLE_DTYPE,
    add_notes,
    index_beside,
    load_index,
    read_entry,
    read_notes,
)
from ssl_swin.data.shards.indexing import index_shard
from ssl_swin.data.shards.manifest import Entry
from ssl_swin.errors import ShardError
from tests.data.shards.tars import samples, write_tar


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY"])
def test_a_damaged_index_is_refused_in_words(folder, content):
    shards = open_shards(str(folder))
    (folder / "train-000000.tar.index.npy").write_bytes(content)
    with pytest.raises(ShardError, match=r"is damaged, or no index .*run: ssl-swin shards index"):
        shards.storage.rows(0)
    np.save(folder / "train-000000.tar.index.npy", np.zeros(4))
    with pytest.raises(ShardError, match="no index of this version"):
        shards.storage.rows(0)


def test_rows_hold_what_the_contract_says(tmp_path):
    key = "l" * 150  # its name takes a header of its own
    path = write_tar(tmp_path / "a.tar", [(f"{key}.png", b"12345"), (f"{key}.json", b"{}")])
    assert index_shard(path, tmp_path / "elsewhere.npy").num_samples == 1
    table = np.load(tmp_path / "elsewhere.npy", mmap_mode="r")
    assert table.dtype == SAMPLE_DTYPE
    assert table[-1]["header"] == path.stat().st_size
    header, offset, size, label_offset, label_size, label_kind = table[0].item()
    assert (header, size, label_size, label_kind) == (0, 5, 2, 2)
    content = path.read_bytes()
    assert content[offset : offset + size] == b"12345"
    assert content[label_offset : label_offset + label_size] == b"{}"
    with io.BytesIO(content[header:]) as file, tarfile.open(fileobj=file) as tar:
        assert tar.next().name == f"{key}.png"


@pytest.fixture
def index(tmp_path):
    """Of a tar of three samples and one file that is left out."""
    path = write_tar(tmp_path / "a.tar", [*samples(3), (".x.png", b"")])
    index_shard(path)
    return index_beside(path)


def test_notes_come_after_the_rows_and_leave_them_as_they_are(index):
    rows, entry = np.array(load_index(index)), read_entry(index)
    ((reason, (num, example)),) = entry.left_out.items()
    assert (reason.split(",")[0], num, example) == ("hidden", 1, ".x.png")
    add_notes(index, {"more": [1, 2]})
    add_notes(index, {"more": [3]})
    assert read_notes(index)["more"] == [3]
    assert read_entry(index) == entry
    assert (load_index(index) == rows).all()
    assert (np.load(index) == rows).all()


def test_an_index_of_release_0_1_has_no_notes_and_the_same_rows(index):
    rows, tar = np.array(load_index(index)), index.with_name("a.tar")
    np.save(index, rows)  # as it wrote it
    assert read_notes(index) == {}
    assert (load_index(index) == rows).all()
    assert read_entry(index) == Entry(3, tar.stat().st_size, None, None)
    assert open_shards(str(tar), index_missing=False).num_samples == 3


def test_damaged_notes_are_refused_in_words(index):
    raw = bytearray(index.read_bytes())
    raw[-30] ^= 1
    index.write_bytes(raw)
    with pytest.raises(ShardError, match=r"the notes in .* damaged, .*run: ssl-swin shards index"):
        read_entry(index)
    assert len(load_index(index)) == 4
