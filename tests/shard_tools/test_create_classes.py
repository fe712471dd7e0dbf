"""The classes of `shards create`: their numbers, and what is said of them."""

import json

import pytest

from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.classes import names_of
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.errors import ShardError, UserError
from ssl_swin.shard_tools.assign import PackOptions
from ssl_swin.shard_tools.create import create
from ssl_swin.shard_tools.select import Selection
from tests.data.remote.faulty import serving
from tests.data.shards.tars import image_bytes


@pytest.fixture
def folders(tmp_path):
    """A training folder of three classes and a held-out one that lacks the second."""
    for number, name in enumerate(["train/ant", "train/bee", "train/cat", "val/ant", "val/cat"]):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.png").write_bytes(image_bytes(number))
    return tmp_path


def pack(source, out, **options):
    create(source, out, PackOptions(), 1, selection=Selection(**options))
    shards = open_shards(str(out))
    reader, names = ShardReader(shards), json.loads((out / "classes.json").read_text())
    return names, sorted(reader.label(0, row) for row in range(shards.num_samples))


@pytest.mark.parametrize("how", ["folder", "file", "shards", "url"])
def test_a_held_out_set_has_the_numbers_of_the_training_set(folders, tmp_path, how):
    known, _ = pack(folders / "train", tmp_path / "packed")
    (tmp_path / "names.txt").write_text("\ufeffant\n\n bee \r\ncat", encoding="utf-8")
    out = tmp_path / "out"
    if how == "folder":
        (folders / "val" / "bee").mkdir()
        found = pack(folders / "val", out)
    elif how == "file":
        found = pack(folders / "val", out, classes=tmp_path / "names.txt")
    elif how == "shards":
        found = pack(folders / "val", out, classes_from=str(tmp_path / "packed"))
    else:
        with serving(tmp_path / "packed") as server:
            found = pack(folders / "val", out, classes_from=server.url)
    assert found == (known, [0, 2])


def test_classes_that_do_not_fit_are_refused(folders, tmp_path):
    names, out = tmp_path / "names.txt", tmp_path / "out"
    with pytest.raises(UserError, match=r"classes=.*names\.txt: No such file"):
        pack(folders / "val", out, classes=names)
    names.write_text("ant\nant\n")
    with pytest.raises(UserError, match="one name a line, each of them once"):
        pack(folders / "val", out, classes=names)
    names.write_text("Ant\ncat\n")
    with pytest.raises(ShardError, match=r"do not name: \['ant'\]"):
        pack(folders / "val", out, classes=names)
    with pytest.raises(UserError, match="give one of the two"):
        pack(folders / "val", out, classes=names, classes_from="x")
    create(folders / "val" / "ant", tmp_path / "flat", PackOptions(), num_workers=1)
    with pytest.raises(UserError, match=r"flat has no classes\.json; give a file"):
        pack(folders / "val", out, classes_from=str(tmp_path / "flat"))
    assert not out.exists()


def test_a_run_does_not_go_on_with_other_classes(folders, tmp_path):
    before = pack(folders / "val", tmp_path / "out")
    (folders / "val" / "bee").mkdir()
    with pytest.raises(UserError, match=r"classes \['ant', 'cat'\], now they are \['ant', 'bee'"):
        pack(folders / "val", tmp_path / "out")
    (folders / "val" / "bee").rmdir()
    assert pack(folders / "val", tmp_path / "out") == before


def test_folders_of_sets_and_two_spellings_are_warned_of(folders, tmp_path, capsys):
    out = tmp_path / "out"
    create(folders, out, PackOptions(), num_workers=1)
    printed = capsys.readouterr().out
    assert "warning: train, val hold folders, and are packed as classes; " in printed
    assert f"shards create {folders} {out} --split folders\n" in printed
    create(folders, tmp_path / "sets", PackOptions(), 1, selection=Selection(split="folders"))
    assert "warning" not in capsys.readouterr().out
    assert names_of(open_shards(str(tmp_path / "sets" / "val"))) == ("ant", "bee", "cat")
    (folders / "train" / "Ant").mkdir()
    create(folders / "train", tmp_path / "other", PackOptions(), num_workers=1)
    assert "the classes 'Ant' and 'ant' may be one thing" in capsys.readouterr().out
