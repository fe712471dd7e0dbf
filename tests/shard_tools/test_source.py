import os

import pytest

from ssl_swin.data.pixels.formats import by_extension
from ssl_swin.data.shards.left_out import AGAIN, DANGLING, HIDDEN, NO_FILE, NOT_AN_IMAGE
from ssl_swin.errors import ShardError, UserError
from ssl_swin.shard_tools.source import list_images
from tests.data.shards.tars import image_bytes


def write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_bytes(0))
    return folder


def names(found):
    return [file.name for file in found.files]


def test_a_source_that_is_not_there_is_told_as_that(tmp_path):
    with pytest.raises(UserError, match=r"nowhere is not there \(/"):
        list_images(tmp_path / "nowhere")


def test_every_file_is_an_image_or_counted_by_its_reason(tmp_path):
    images = [f"a/{kind}.{kind}" for kind in by_extension()]
    write(tmp_path, *images, "a/UPPER.JPG", "b/one.png")
    hidden = ["a/.x.png", "@eaDir/t.png", "__MACOSX/a/._x.png", "b/.git/HEAD", "lost+found/x.png"]
    write(tmp_path, *hidden, "a/notes.txt", "a/IMG.HEIC", "b/plain")
    (tmp_path / "b" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "b" / "linked.png").symlink_to("one.png")
    os.mkfifo(tmp_path / "b" / "pipe.png")
    found = list_images(tmp_path)
    assert names(found) == sorted([*images, "a/UPPER.JPG", "b/one.png", "b/linked.png"])
    assert found.classes == ["a", "b"]
    assert {reason: num for reason, (num, _) in found.left_out.items()} == {
        HIDDEN: 5,
        NOT_AN_IMAGE: 3,
        DANGLING: 1,
        NO_FILE: 1,
    }
    assert found.left_out[DANGLING] == (1, "b/gone.png")


def test_every_folder_is_a_class_also_an_empty_one(tmp_path):
    write(tmp_path, "ant/1.png", "cat/1.png", ".hidden/1.png")
    (tmp_path / "beaver").mkdir()
    write(tmp_path / "dog", "notes.txt")
    found = list_images(tmp_path)
    assert found.classes == ["ant", "beaver", "cat", "dog"]
    assert [file.label for file in found.files] == [0, 2]


def test_folders_without_an_image_make_no_classes_of_images_beside_them(tmp_path):
    write(tmp_path, "1.png", "docs/notes.txt")
    found = list_images(tmp_path)
    assert (found.classes, [file.label for file in found.files]) == ([], [None])


def test_classes_that_are_given_number_the_folders(tmp_path):
    write(tmp_path, "cat/1.png", "ant/1.png")
    found = list_images(tmp_path, ["dog", "cat", "ant"])
    assert found.classes == ["dog", "cat", "ant"]
    assert [(file.name, file.label) for file in found.files] == [("ant/1.png", 2), ("cat/1.png", 1)]
    with pytest.raises(ShardError, match=r"do not name: \['cat'\]; they are \['ant', 'Cat'\]"):
        list_images(tmp_path, ["ant", "Cat"])
    with pytest.raises(ShardError, match="has no class folders, and classes were given"):
        list_images(tmp_path / "ant", ["ant"])


def test_a_folder_that_links_lead_to_counts_once_under_its_own_name(tmp_path):
    write(tmp_path, "zebra/1.png", "ant/1.png")
    (tmp_path / "alias").symlink_to("zebra")
    (tmp_path / "ant" / "up").symlink_to(tmp_path)
    found = list_images(tmp_path)
    assert names(found) == ["ant/1.png", "zebra/1.png"]
    assert found.classes == ["ant", "zebra"]
    assert found.left_out == {AGAIN: (2, "alias")}


def test_a_link_to_a_folder_elsewhere_is_followed(tmp_path):
    write(tmp_path / "elsewhere", "1.png")
    write(tmp_path / "source", "ant/1.png")
    (tmp_path / "source" / "bee").symlink_to(tmp_path / "elsewhere")
    assert names(list_images(tmp_path / "source")) == ["ant/1.png", "bee/1.png"]


@pytest.fixture
def locked(monkeypatch):
    """Names of folders that may not be listed; root may list any."""
    names, scandir = set(), os.scandir

    def refusing(path):
        if os.path.basename(path) in names:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    return names


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, locked):
    write(tmp_path, "ant/1.png", "ant/deep/2.png", ".Trash/3.png")
    locked.add(".Trash")
    assert list_images(tmp_path).left_out == {HIDDEN: (1, ".Trash")}
    locked.add("deep")
    with pytest.raises(UserError, match=r"ant/deep cannot be listed \(Permission denied\)"):
        list_images(tmp_path)


@pytest.mark.parametrize(
    ("folders", "nested"),
    [
        (["train/a", "val/a"], ["train", "val"]),
        (["Train/a", "TEST"], ["Train"]),
        (["ant/a", "bee"], []),
    ],
)
def test_classes_that_look_like_sets_are_told(tmp_path, folders, nested):
    write(tmp_path, *(f"{folder}/1.png" for folder in folders))
    assert list_images(tmp_path).nested == nested


def test_a_folder_without_images_says_what_it_holds(tmp_path):
    for name in ("a.mp", "b.mp", "c.txt"):
        (tmp_path / name).touch()
    with pytest.raises(ShardError, match=r"holds no image.*extensions found: mp 2, txt 1\)$"):
        list_images(tmp_path)
    (tmp_path / "d.tar").touch()
    with pytest.raises(ShardError, match="tars are shards already: ssl-swin recipe"):
        list_images(tmp_path)
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "plain").write_bytes(image_bytes(0))
    with pytest.raises(ShardError, match=r"none\) 1\); some files are PNG all the same"):
        list_images(tmp_path / "e")
