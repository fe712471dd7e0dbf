import os

import pytest

from ssl_swin.data.shards.folders import is_image, walk
from ssl_swin.data.shards.left_out import HIDDEN, NOT_AN_IMAGE


def test_images_have_a_size_and_folders_have_none_and_all_is_counted(tmp_path):
    for name in ("a/1.PNG", "a/deep/2.jpg", "notes.txt", ".trash/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1234")
    left_out, counted = {}, []
    found = dict(walk(tmp_path, left_out, counted.append))
    assert found == {"a": None, "a/deep": None, "a/1.PNG": 4, "a/deep/2.jpg": 4}
    assert left_out == {NOT_AN_IMAGE: (1, "notes.txt"), HIDDEN: (1, ".trash/3.png")}
    assert sum(counted) == 7


def test_what_the_storage_does_is_not_the_users_mistake(tmp_path, monkeypatch):
    def failing(path):
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(OSError, match="Input/output error"):
        list(walk(tmp_path, {}))


@pytest.mark.parametrize(("name", "holds"), [("x.JPG", True), ("x.jpg.tar", False)])
def test_images_are_told_by_their_extension(name, holds):
    assert is_image(name) is holds
