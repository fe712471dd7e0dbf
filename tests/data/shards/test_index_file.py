import io
import tarfile

import numpy as np
import pytest

from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.index_file import SAMPLE_DTYPE
from ssl_swin.data.shards.indexing import index_shard
from ssl_swin.errors import ShardError
from tests.data.shards.tars import write_tar


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
