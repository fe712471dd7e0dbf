import json
import shutil

import pytest

from ssl_swin.data.open import open_shards
from ssl_swin.errors import UserError
from ssl_swin.evaluation.labels import labels_by_name
from tests.data.shards.tars import write_tar

CLASSES = ("cat", "dog", "eel")


@pytest.fixture
def shards(tmp_path):
    """A folder of one tar with these labels, None for none, and perhaps with names."""

    def make(labels, names=None):
        members = []
        for place, label in enumerate(labels):
            members.append((f"{place:03d}.png", b"x"))
            members += [] if label is None else [(f"{place:03d}.cls", str(label).encode())]
        folder = tmp_path / "set"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        write_tar(folder / "a.tar", members)
        if names is not None:
            (folder / "classes.json").write_text(json.dumps(names))
        return open_shards(str(folder))

    return make


@pytest.mark.parametrize(
    ("labels", "names", "classes", "expected"),
    [
        ([0, 2, 1], ["cat", "dog", "eel"], CLASSES, [0, 2, 1]),
        ([0, 2, 1], ["eel", "dog", "cat"], CLASSES, [2, 0, 1]),
        ([0, 1, 0], ["eel", "cat"], CLASSES, [2, 0, 2]),  # fewer classes
        ([0, 0, 1], ["dog", "cat", "yak"], CLASSES, [1, 1, 0]),  # another one, of no image
        ([0, 2, 1], None, ("0", "1", "2"), [0, 2, 1]),
        ([0, 1], ["1", "0"], ("0", "1", "2"), [1, 0]),
    ],
)
def test_labels_are_mapped_by_name(shards, labels, names, classes, expected):
    assert labels_by_name(shards(labels, names), "S", classes, "label").tolist() == expected


@pytest.mark.parametrize(
    ("labels", "names", "told"),
    [
        ([None, None], ["cat"], "S has no labels, so nothing can be measured; ssl-swin predict"),
        ([0, 1], None, "S has no classes.json beside its tars"),
        (
            [0, 1],
            ["cat", "yak"],
            "S has classes that the classifier does not know: 'yak'; it knows",
        ),
        ([0], ["Cat"], "'Cat' and 'cat' may be one thing, spelled twice"),
        ([0, 2], ["cat", "dog"], "1 of 2 S images have no class"),
        ([0, None], ["cat", "dog"], "without a label"),
    ],
)
def test_what_has_no_name_that_the_classifier_knows_is_refused(shards, labels, names, told):
    with pytest.raises(UserError) as info:
        labels_by_name(shards(labels, names), "S", CLASSES, "label")
    assert told in str(info.value)
    assert "\n" not in str(info.value)
