"""Sets get their labels from elsewhere."""

import pytest

from ssl_swin.data.batches.labels import all_labels
from ssl_swin.data.labelling.attach import Asked, attach
from ssl_swin.data.open import join
from ssl_swin.data.shards.classes import names_of
from ssl_swin.errors import UserError


@pytest.fixture
def labels(tmp_path):
    def write(text):
        (tmp_path / "l.csv").write_text(f"key,label\n{text}")
        return Asked(file=str(tmp_path / "l.csv"))

    return write


def test_one_file_has_the_labels_of_all_sets_and_what_it_lacks_is_counted(make_set, labels):
    sets = {"a": make_set("a", {"p": None, "q": None}), "b": make_set("b", {"r": None})}
    asked = labels("r,ant\np,cat\nx,ant\n")
    found, said = attach(sets, asked)
    assert [all_labels(one, "label").tolist() for one in found.values()] == [[1, -1], [0]]
    assert {names_of(one) for one in found.values()} == {("ant", "cat")}
    name = f"labels={asked.file}"
    assert said == [
        f"a: 1 of 2 images have no label in {name} and are left out, as 'q'",
        f"{name}: 1 of 3 keys are of no image, as 'x'",
    ]
    both = join(list(found.values()))
    assert all_labels(both, "label").tolist() == [1, -1, 0]


def test_numbers_are_places_in_classes_json(make_set, labels):
    shards = make_set("a", {"p": None, "q": None}, classes=["bee", "ant", "cat"])
    found, _ = attach({"a": shards}, labels("p,2\nq,0\n"))
    assert all_labels(found["a"], "label").tolist() == [2, 0]
    assert names_of(found["a"]) == ("bee", "ant", "cat")


def test_a_set_that_the_file_does_not_know_keeps_its_own_labels(make_set, labels):
    sets = {"a": make_set("a", {"p": None}), "b": make_set("b", {"r": "cat"})}
    asked = labels("p,cat\ns,ant\n")
    found, said = attach(sets, asked)
    assert [all_labels(one, "label").tolist() for one in found.values()] == [[1], [1]]
    assert f"b: no key of labels={asked.file} is there; its tars say its labels" in said


def test_a_file_of_other_images_is_refused(make_set, labels):
    with pytest.raises(UserError, match=r"has 1 keys, such as 'x\.png', and none .* first is 'p';"):
        attach({"a": make_set("a", {"p": None})}, labels("x.png,1\n"))


def test_what_a_run_records_of_its_shards_changes_with_the_labels_alone(make_set, labels):
    shards = make_set("a", {"p": None, "q": None})
    found = [
        attach({"a": shards}, labels(text))[0]["a"]
        for text in ("p,1\nq,0\n", "q,0\np,1\nz,1\n", "p,0\nq,1\n", "p,1\n")
    ]
    first, same, *others = (one.describe()["labels"] for one in found)
    assert first == same
    assert first not in others
    assert {one.fingerprint() for one in found} == {shards.fingerprint()}
    assert "labels" not in shards.describe()
