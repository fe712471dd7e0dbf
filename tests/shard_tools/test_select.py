import pytest

from ssl_swin.data.shards.left_out import DUPLICATE, NO_SET
from ssl_swin.errors import ShardError, UserError
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
        ({"group_column": "who"}, "group_column=who is a column of a list; give --csv FILE"),
        ({"csv": "a", "split": "folders"}, "name the column of the sets as split"),
        ({"unlabelled": True, "classes_from": "b"}, "unlabelled packs no classes"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_is_read(options, message):
    with pytest.raises(UserError, match=message):
        Selection(**options)


def test_a_list_says_what_is_in_which_set_and_what_stays_together(folders, tmp_path):
    rows = [("0.png", "x", "train"), ("1.png", "x", "validation"), ("2.png", "y", "Train")]
    lines = ["name,kind,part", *map(",".join, rows), "3.png,y,"]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    columns = {"csv": tmp_path / "list.csv", "path_column": "name", "label_column": "kind"}
    found, sets = select(folders, Selection(**columns, split="part"), 0)
    assert {name: [file.name for file in part] for name, part in sets.items()} == {
        "train": ["ant/0.png", "bee/2.png"],
        "val": ["ant/1.png"],
    }
    assert found.classes == ["x", "y"]
    assert found.left_out == {NO_SET: (1, "bee/3.png")}
    _, sets = select(folders, Selection(**columns, group_column="kind", split="val=0.5"), 0)
    assert sorted(len({file.label for file in part}) for part in sets.values()) == [1, 1]
    with pytest.raises(UserError, match="has no column 'kinds'"):
        select(folders, Selection(**columns | {"label_column": "kinds"}), 0)


def test_a_set_of_no_known_name_and_sets_without_one_to_train_on_are_refused(folders, tmp_path):
    for name, message in (("holdout", "said to be in the set 'holdout'"), ("val", "set train")):
        (tmp_path / "list.csv").write_text(f"path,part\n0.png,{name}\n1.png,test\n")
        with pytest.raises(UserError, match=message):
            select(folders, Selection(csv=tmp_path / "list.csv", split="part"), 0)


def test_folders_are_no_classes_if_nothing_shall_be_labelled(folders):
    (folders / "4.png").write_bytes(image_bytes(4))
    with pytest.raises(ShardError, match="pack them without labels: --unlabelled"):
        select(folders, Selection(), 0)
    found, _ = select(folders, Selection(unlabelled=True), 0)
    assert (len(found.files), {file.label for file in found.files}) == (5, {None})
    assert found.classes == []


def test_the_same_bytes_are_packed_once_if_asked(folders):
    (folders / "bee" / "9.png").write_bytes((folders / "ant" / "0.png").read_bytes())
    found, sets = select(folders, Selection(dedup="exact"), 0)
    assert len(sets[""]) == 4
    assert found.left_out == {DUPLICATE: (1, "bee/9.png")}
    assert "in another class, of which one is kept: 'ant/0.png' as 'bee/9.png'" in found.told[0]
