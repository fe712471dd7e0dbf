import pytest

from ssl_swin.data.shards.left_out import NO_SET
from ssl_swin.errors import UserError
from ssl_swin.shard_tools.set_folders import list_sets
from tests.data.shards.tars import image_bytes


def write(folder, *names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image_bytes(number))
    return folder


def test_each_folder_is_a_set_and_all_have_the_same_classes(tmp_path):
    write(tmp_path, "Train/bee/1.png", "Train/cat/1.png", "validation/ant/1.png", "test/1.png")
    write(tmp_path, "notes/1.png", "readme.txt", ".hidden/1.png")
    found = list_sets(tmp_path)
    assert found.classes == ["ant", "bee", "cat"]
    assert [(file.name, file.label, file.split) for file in found.files] == [
        ("Train/bee/1.png", 1, "train"),
        ("Train/cat/1.png", 2, "train"),
        ("test/1.png", None, "test"),
        ("validation/ant/1.png", 0, "val"),
    ]
    assert found.left_out == {NO_SET: (2, "notes")}
    assert list_sets(tmp_path, ["cat", "bee", "ant"]).files[0].label == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["ant/1.png"], r"has no folders train and val .* it has 'ant': give split=val=0\.1"),
        (["val/1.png", "test/1.png"], "has no folders train"),
        (["train/1.png"], "has no folders train and val"),
        (["train/1.png", "val/1.png", "valid/1.png"], "has val and valid, which are one set"),
    ],
)
def test_folders_that_are_no_sets_are_refused(tmp_path, names, message):
    with pytest.raises(UserError, match=message):
        list_sets(write(tmp_path, *names))
    with pytest.raises(UserError, match=r"nowhere: No such file"):
        list_sets(tmp_path / "nowhere")
