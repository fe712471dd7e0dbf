import shutil

import pytest

from ssl_swin.data.open import open_shards
from ssl_swin.errors import ShardError
from ssl_swin.shard_tools.verify import verify
from tests.data.shards.tars import image_bytes, write_tar


def test_readable_shards_are_verified(folder, capsys):
    verify(str(folder), num_workers=1)
    assert "9 samples in 2 shards can be read" in capsys.readouterr().out


def test_what_is_broken_is_named_by_shard_and_key(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    whole = image_bytes(0, size=(50, 50))
    members = [
        ("good.png", whole),
        ("cut.png", whole[:1000]),
        ("[bold]text.png", b"text"),
        ("label.png", whole),
        ("label.cls", b"cat"),
    ]
    write_tar(folder / "train-000002.tar", members)
    with pytest.raises(ShardError, match=r"3 of 13 samples in .* are broken"):
        verify(str(folder), num_workers=1)
    printed = capsys.readouterr().out
    for key in ("cut", "[bold]text", "label"):
        assert f"train-000002.tar: {key}: " in printed
    assert "train-000000" not in printed
    assert "good" not in printed


def test_a_shard_that_changed_counts_as_broken(folder, capsys):
    shards = open_shards(str(folder))
    shutil.copy(shards.storage.paths[0], shards.storage.paths[1])
    assert shards.bytes[0] == shards.bytes[1]  # so the size does not tell
    with pytest.raises(ShardError, match="1 of 9 samples"):
        verify(str(folder), num_workers=1)
    assert "(whole shard): " in capsys.readouterr().out
    (folder / "train-000000.tar.index.npy").write_bytes(b"")
    with pytest.raises(ShardError, match="1 of 4 samples"):
        verify(str(folder / "train-000000.tar"), num_workers=1)
    assert "(whole shard)" in capsys.readouterr().out


def test_two_workers_find_the_same(folder):
    write_tar(folder / "train-000002.tar", [("x.png", b"text")])
    with pytest.raises(ShardError, match="1 of 10 samples"):
        verify(str(folder), num_workers=2)
