import json

import pytest

from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.classes import CLASSES_NAME, alike, names_of, parse_names, renumber
from ssl_swin.errors import ShardError
from tests.data.remote.faulty import cache_in, remote_set, serving
from tests.data.shards.tars import indexed_tars


def write_names(folder, names):
    (folder / CLASSES_NAME).write_text(json.dumps(names))


def test_the_names_of_a_set_are_beside_its_tars_here_and_far_away(folder, tmp_path):
    assert names_of(open_shards(str(folder))) is None
    write_names(folder, ["ant", "Zoë"])
    shards = open_shards(str(folder))
    assert names_of(shards) == ("ant", "Zoë")
    with serving(folder) as server:
        assert names_of(remote_set(server.url, cache_in(tmp_path / "cache"))) == ("ant", "Zoë")
        (folder / CLASSES_NAME).unlink()
        assert names_of(remote_set(server.url, cache_in(tmp_path / "cache"))) is None


def test_the_folders_of_one_set_must_agree(tmp_path):
    folders = [indexed_tars(tmp_path / name, (1,)) for name in ("one", "two")]
    pattern = f"{tmp_path}/{{one,two}}/*.tar"
    write_names(folders[0], ["ant", "bee"])
    assert names_of(open_shards(pattern)) == ("ant", "bee")
    write_names(folders[1], ["bee", "ant"])
    with pytest.raises(ShardError, match=r"one/classes\.json and .*two/classes\.json .* differ"):
        names_of(open_shards(pattern))


@pytest.mark.parametrize("content", ["", "{}", "[1, 2]", "[" * 100_000, '"ant"'])
def test_what_is_no_list_of_names_is_refused(content):
    with pytest.raises(ShardError, match=r"^X is no list of class names"):
        parse_names(content.encode(), "X")


def test_a_name_has_one_number():
    with pytest.raises(ShardError, match="names the class 'ant' twice"):
        parse_names(b'["ant", "bee", "ant"]', "X")


def test_another_order_is_mapped_by_name():
    known = ("ant", "bee", "cat")
    assert renumber(known, known, "val", "train") is None
    order = renumber(("cat", "ant", "bee"), known, "val", "train")
    assert order == (2, 0, 1)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ("ant", "cat"),
            r"other classes: 'bee' only in TRAIN; pack VAL again .*--classes-from TRAIN",
        ),
        (("ant", "bee", "cat", "dog"), "other classes: 'dog' only in VAL; pack"),
        (
            ("ant", "Bee", "cat"),
            "'Bee' only in VAL; 'Bee' and 'bee' may be one thing",
        ),
        (
            tuple("abcdefg"),
            "'cat' only in TRAIN and 'a', 'b', 'c', 'd', 'e' and 2 more only",
        ),
    ],
)
def test_a_class_that_one_set_lacks_is_named(names, said):
    with pytest.raises(ShardError, match=said):
        renumber(names, ("ant", "bee", "cat"), "VAL", "TRAIN")


def test_two_spellings_of_one_thing_are_found():
    names = [
        "Bird",
        "bird",
        "polar bear",
        "polar_bear",
        "Polar-Bear",
        "ant",
        "ants",
        "Ｆｉｓｈ",
        "fish",
    ]
    assert alike(names) == [
        ("Bird", "bird"),
        ("Polar-Bear", "polar bear"),
        ("Polar-Bear", "polar_bear"),
        ("fish", "Ｆｉｓｈ"),
    ]
    assert alike(["C", "C++", "C#"]) == []
