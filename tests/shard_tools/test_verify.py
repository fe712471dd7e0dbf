import shutil

import pytest

from ssl_swin.__main__ import run
from ssl_swin.data.open import open_shards
from ssl_swin.errors import ShardError, UserError
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


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("0121", "labels: 3 classes, numbered 0 to 2\n"),
        ("1321", "numbered 1 to 3\nwarning: the labels seem to be numbered from 1; models"),
        ("1.21", "warning: 1 of 4 samples have no class: '1' without a label in"),
    ],
)
def test_labels_are_described_and_held_against_the_classes_of_a_model(
    tmp_path, capsys, labels, said
):
    members = []
    for place, label in enumerate(labels):
        members.append((f"{place}.png", image_bytes(place)))
        members += [] if label == "." else [(f"{place}.json", b'{"kind": %s}' % label.encode())]
    write_tar(tmp_path / "a.tar", members)
    verify(str(tmp_path), num_workers=1, label_field="kind")
    assert said in capsys.readouterr().out
    with pytest.raises(UserError, match=r"of 4 shards' images have no class .* 0 to 1"):
        verify(str(tmp_path), num_workers=1, label_field="kind", num_classes=2)


def test_what_was_left_out_is_said(folder, capsys):
    write_tar(folder / "train-000002.tar", [("x.png", image_bytes(0)), ("@eaDir/x.png", b"")])
    verify(str(folder), num_workers=1)
    assert f"left out of {folder}: 1 hidden, " in capsys.readouterr().out


@pytest.mark.parametrize("label", ["horse", "-1", "0.5", "nan", "9" * 30, '"a\nb"'])
def test_a_label_of_a_file_that_is_no_class_is_told(tmp_path, capsys, label):
    write_tar(tmp_path / "a.tar", [(f"{n}.png", image_bytes(n)) for n in range(3)])
    (tmp_path / "classes.json").write_text('["cat", "dog"]')
    (tmp_path / "l.csv").write_text(f"key,label\n0,cat\n1,dog\n2,{label}\n")
    words = [str(tmp_path), "--labels", str(tmp_path / "l.csv")]
    said = "has 1 labels that are none of the 2 given classes"
    assert run(["shards", "verify", *words, "--num-workers=1"]) == 2
    assert said in capsys.readouterr().err
    assert run(["shards", "info", *words]) == 0
    assert said in capsys.readouterr().out
