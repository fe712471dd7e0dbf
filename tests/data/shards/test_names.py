import os

import pytest

from ssl_swin.data.shards.names import (
    expand,
    has_tars,
    is_hidden,
    printable,
    sample_key,
    set_of,
    usual_split,
)
from ssl_swin.errors import ShardError
from tests.data.shards.tars import samples, write_tar


@pytest.mark.parametrize(
    ("pattern", "places"),
    [
        ("", (0, 1, 2, 3)),
        ("train-000002.tar", (2,)),
        ("train-{000001..000003}.tar", (1, 2, 3)),
        ("train-00000{3..1}.tar", (3, 2, 1)),
        ("{train-000003,train-000000}.tar", (3, 0)),
        ("tr{ain-0000,ain-0000}0{1..2}.tar", (1, 2)),
        ("*-00000[02].tar", (0, 2)),
        ("{.,../{name}}/train-000001.tar", (1, 1)),
    ],
)
def test_patterns_name_shards_in_their_own_order(folder, pattern, places):
    pattern = pattern.replace("{name}", folder.name)
    found = [path.resolve() for path in expand(os.path.join(folder, pattern))]
    assert found == [folder / f"train-{place:06d}.tar" for place in places]


def test_a_tar_whose_name_looks_like_a_pattern_is_itself(tmp_path):
    path = write_tar(tmp_path / "a[0]{1,2}.tar", samples(1))
    assert expand(str(path)) == [path]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("train-{000002..000009}.tar", r"6 of the 8 shards .* first is .*train-000004\.tar"),
        ("val-*.tar", "matches no tar"),
        ("val.tar", "matches no tar"),
        ("empty", "matches no tar"),
    ],
)
def test_shards_that_are_not_there_are_named(folder, pattern, message):
    (folder / "empty").mkdir()
    with pytest.raises(ShardError, match=message):
        expand(str(folder / pattern))


@pytest.mark.parametrize(
    ("name", "key", "extension"),
    [
        ("a.b/x.seg.PNG", "a.b/x", "seg.png"),
        ("x.jpg", "x", "jpg"),
        ("folder/x", "folder/x", ""),
        ("./.hidden", "./", "hidden"),
    ],
)
def test_a_name_is_split_at_the_first_dot_after_the_last_slash(name, key, extension):
    assert sample_key(name) == (key, extension)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zoë 日本語", "Zoë 日本語"),
        (" two\nlines\tand a tab ", "two lines and a tab"),
        (os.fsdecode(b"caf\xe9.jpg"), "caf\\udce9.jpg"),
    ],
)
def test_any_text_is_one_line_of_utf_8(text, shown):
    assert printable(text) == shown
    assert shown.encode("utf-8")


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("a/x.png", False),
        ("./a/../x.png", False),
        ("../x.png", False),
        ("/abs/x.png", False),
        ("a.b/x.png", False),
        ("a/.x.png", True),
        ("a/._x.png", True),
        (".Trash/x.png", True),
        ("a/.ipynb_checkpoints/x.png", True),
        ("a/@eaDir/x.png/THUMB.png", True),
        ("__MACOSX/a/x.png", True),
        ("$RECYCLE.BIN/x.png", True),
        ("lost+found", True),
    ],
)
def test_what_programs_keep_for_themselves_is_hidden(name, hidden):
    assert is_hidden(name) is hidden


def test_a_folder_has_tars_or_not(tmp_path):
    write_tar(tmp_path / "in.tar", samples(1))
    assert has_tars(tmp_path)
    assert not has_tars(tmp_path / "in.tar")
    assert not has_tars(tmp_path / "nowhere")


def test_folders_are_split_as_they_are_sets_or_by_shares(tmp_path):
    assert [set_of(name) for name in (" Training", "dev", "testing", "cats")] == [
        *("train", "val", "test", None),
    ]
    by_shares = "val=0.1", "val"
    folders = {"cats": by_shares, "Train": by_shares}
    for name, split in (folders | {"test": ("folders", "test"), "dev": ("folders", "val")}).items():
        (tmp_path / name).mkdir()
        assert usual_split(tmp_path) == split
    assert usual_split(tmp_path / "nowhere") == by_shares
