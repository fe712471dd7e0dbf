import pytest

from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.manifest import MANIFEST_NAME
from ssl_swin.errors import ShardError


def test_a_set_with_a_manifest_opens_without_its_index_files(folder):
    recorded = open_shards(str(folder)).describe()
    for index in folder.glob("*.index.npy"):
        index.unlink()
    shards = open_shards(str(folder), index_missing=False)
    assert shards.describe() == recorded
    with pytest.raises(ShardError, match=r"there is no index .*run: ssl-swin shards index"):
        shards.storage.rows(0)


def test_a_set_without_a_manifest_reads_the_index_files(folder):
    recorded = open_shards(str(folder)).describe()
    (folder / MANIFEST_NAME).unlink()
    assert open_shards(str(folder), index_missing=False).describe() == recorded


@pytest.mark.parametrize("text", ["[]", "{", '{"format": 2, "shards": {}}', '{"format": 1}'])
def test_a_damaged_manifest_is_refused_in_words(folder, text):
    (folder / MANIFEST_NAME).write_text(text)
    with pytest.raises(ShardError, match=r"index\.json is not a manifest"):
        open_shards(str(folder))
