"""Labels of remote sets: no image comes for them."""

import pytest

from ssl_swin.data.batches import labels
from ssl_swin.data.batches.labels import Labels, all_labels, balanced_subset
from ssl_swin.data.open import open_shards
from tests.data.remote.faulty import serving
from tests.data.remote.sets import open_at
from tests.data.shards.tars import write_tar

EXPECTED = [0, 1, 2, 3, 4]


@pytest.fixture
def far(tmp_path):
    """Five large images, each with a label behind it."""
    folder = tmp_path / "far"
    folder.mkdir()
    members = []
    for place in EXPECTED:
        members += [(f"{place}.png", b"x" * 10**6), (f"{place}.cls", b"%d" % place)]
    write_tar(folder / "a.tar", members)
    open_shards(str(folder))
    with serving(folder) as server:
        yield folder, server


def test_a_label_file_that_lies_there_is_taken(far, tmp_path):
    folder, server = far
    shards = open_at(server, tmp_path)
    assert all_labels(shards, "label").tolist() == EXPECTED
    assert not server.sent["a.tar"]
    (folder / "a.tar.labels").unlink()  # it is in the cache now
    assert all_labels(open_at(server, tmp_path), "label").tolist() == EXPECTED


def test_without_one_labels_are_read_from_afar_and_kept(far, tmp_path):
    folder, server = far
    (folder / "a.tar.labels").unlink()
    shards = open_at(server, tmp_path)
    assert Labels(5).check(shards, "x") is None
    sent = server.sent["a.tar"]
    assert 0 < sent < 0.4 * shards.bytes[0]
    assert not shards.storage.paths[0].exists()
    assert server.gets["a.tar.labels"] == 2  # once, and once more where one process of all reads
    assert all_labels(open_at(server, tmp_path), "label").tolist() == EXPECTED
    assert server.sent["a.tar"] == sent


def test_too_many_requests_are_not_made_but_told(far, tmp_path, monkeypatch):
    folder, server = far
    (folder / "a.tar.labels").unlink()
    monkeypatch.setattr(labels, "_MOST_REQUESTS", 4)
    shards = open_at(server, tmp_path)
    told = Labels(5).check(shards, "held-out")
    assert told is not None
    assert "held-out images are looked at when they are drawn" in told
    assert "5 requests; ssl-swin shards index" in told
    assert not server.sent["a.tar"]
    assert len(balanced_subset(shards, Labels(5), 5, seed=0)) == 5  # through the cache
    assert shards.storage.paths[0].exists()
    assert Labels(5).check(shards, "held-out") is None


def test_indexing_from_afar_brings_the_labels_along(far, tmp_path):
    folder, server = far
    for path in folder.iterdir():
        if path.name != "a.tar":
            path.unlink()
    shards = open_at(server, tmp_path)
    sent = server.sent["a.tar"]
    assert sent < 0.4 * shards.bytes[0]
    assert all_labels(shards, "label").tolist() == EXPECTED
    assert server.sent["a.tar"] == sent
