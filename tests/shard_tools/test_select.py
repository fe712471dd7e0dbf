import pytest

from ssl_swin.errors import UserError
from ssl_swin.shard_tools.select import Selection, select
from tests.data.shards.tars import image_bytes


@pytest.fixture
def folders(tmp_path):
    for number, name in enumerate(["ant", "ant", "bee", "bee"]):
        (tmp_path / "in" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name / f"{number}.png").write_bytes(image_bytes(number))
    return tmp_path / "in"


def test_a_set_alone_has_no_name(folders):
    found, sets = select(folders, Selection(), 0)
    assert sets == {"": found.files}
    assert len(found.files) == 4


def test_classes_are_given_by_a_file_also_when_images_are_dealt(folders, tmp_path):
    (tmp_path / "names.txt").write_text("cat\nbee\nant\n")
    found, sets = select(folders, Selection(classes=tmp_path / "names.txt", split="val=0.5"), 0)
    assert found.classes == ["cat", "bee", "ant"]
    assert {name: sorted(f.label for f in part) for name, part in sets.items()} == {
        "train": [1, 2],
        "val": [1, 2],
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": "a", "classes_from": "b"}, "give one of the two"),
        ({"split": "half"}, "split=half is no split"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_is_read(options, message):
    with pytest.raises(UserError, match=message):
        Selection(**options)
