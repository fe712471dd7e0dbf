import json

import pytest

from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.manifest import MANIFEST_NAME, Entry, load_manifest, write_manifest
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


def test_what_was_left_out_is_kept_and_of_older_shards_it_is_not_known(tmp_path):
    old = '{"format": 1, "shards": {\n"a.tar": [1, 2048],\n"b.tar": [1, 2048, "ff"]\n}}\n'
    (tmp_path / MANIFEST_NAME).write_text(old)
    entries = load_manifest(tmp_path)
    assert entries == {"a.tar": Entry(1, 2048), "b.tar": Entry(1, 2048, "ff")}
    write_manifest(tmp_path, entries)
    assert (tmp_path / MANIFEST_NAME).read_text() == old
    entries |= {"c.tar": Entry(1, 2048, None, {"reason": (3, "x")})}
    entries |= {"d.tar": Entry(1, 2048, None, {})}
    write_manifest(tmp_path, entries)
    text = (tmp_path / MANIFEST_NAME).read_text()
    assert load_manifest(tmp_path) == entries
    assert json.loads(text)["left_out"] == {
        "a.tar": None,
        "b.tar": None,
        "c.tar": {"reason": [3, "x"]},
    }
    assert "left_out" in json.loads(text)
    (tmp_path / MANIFEST_NAME).write_text(text.replace("[3,", "[-3,"))
    with pytest.raises(ShardError, match=r"index\.json is not a manifest"):
        load_manifest(tmp_path)
