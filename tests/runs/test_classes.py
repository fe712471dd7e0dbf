import json
import subprocess
import sys
from dataclasses import replace

import pytest

from ssl_swin.config.data import LabelledDataConfig
from ssl_swin.config.run import FinetuneConfig
from ssl_swin.errors import UserError
from ssl_swin.runs.classes import agree, given_weights, with_their_number
from ssl_swin.runs.sets import open_run_sets
from tests.data.shards.tars import image_bytes, write_tar

RGB = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
NAMES = ["ant", "bee", "cat"]


def labelled(labels):
    return [
        member
        for place, label in enumerate(labels)
        for member in (
            (f"{place}.png", image_bytes(place)),
            *([(f"{place}.cls", str(label).encode())] if label is not None else []),
        )
    ]


@pytest.fixture
def config(tmp_path):
    """Of a set that is written by `write`, without a number of classes."""
    (tmp_path / "train").mkdir()
    data = LabelledDataConfig(str(tmp_path / "train"), **RGB)
    return FinetuneConfig(str(tmp_path / "run"), data)


@pytest.fixture
def counted(config, tmp_path):
    def count(labels, names=None):
        write_tar(tmp_path / "train" / "a.tar", labelled(labels))
        if names is not None:
            (tmp_path / "train" / "classes.json").write_text(json.dumps(names))
        found, said = with_their_number(config, open_run_sets(config))
        return found.num_classes, said

    return count


def test_classes_are_counted_by_their_names(counted, tmp_path):
    number, (line,) = counted([0, 1], NAMES)
    assert number == 3
    named = f"num_classes=3, as many as classes.json of {tmp_path}/train names: ant, bee, cat"
    assert line == named


def test_without_names_they_are_counted_by_the_labels(counted, tmp_path):
    said = f"num_classes=4, since the labels of {tmp_path}/train run to 3"
    assert counted([0, 3, 1, 2]) == (4, [said])


def test_what_no_image_is_of_is_told(counted):
    assert counted([0, 3])[1][1] == "warning: no training image is of class 1, 2"


def test_labels_from_1_are_told(counted):
    assert "are they numbered from 1? number them from 0" in counted([1, 2])[1][1]


@pytest.mark.parametrize(
    ("labels", "names", "said"),
    [
        ([None, None], None, "none of the 2 training images has a label"),
        (["0.5", "-1"], None, "whose label is no number"),
        ([0, 0], None, "there is only one class, by the labels of the training shards"),
        ([0, 0], ["cat"], "there is only one class, as many as classes.json"),
    ],
)
def test_a_set_that_teaches_no_classes_is_refused(counted, labels, names, said):
    with pytest.raises(UserError, match=said) as caught:
        counted(labels, names)
    assert "\n" not in str(caught.value)


def test_a_number_that_is_given_is_kept(config, tmp_path):
    write_tar(tmp_path / "train" / "a.tar", labelled([0, 1]))
    asked = replace(config, num_classes=7)
    assert with_their_number(asked, open_run_sets(asked)) == (asked, [])


@pytest.fixture
def sets(config, tmp_path):
    """Sets that are opened anew with other names."""
    write_tar(tmp_path / "train" / "a.tar", labelled([0, 1, 2]))

    def opened(names):
        path = tmp_path / "train" / "classes.json"
        path.unlink(missing_ok=True)
        if names is not None:
            path.write_text(json.dumps(names))
        return open_run_sets(config)

    return opened


def state(names, shards, where="before"):
    return {"classes": names, "shards": shards, "config": {"data.shards": where}}


def test_a_new_run_takes_the_names_of_its_set_and_numbers_where_there_are_none(config, sets):
    numbers, some = ["0", "1", "2"], ["ant", "bee", "2"]
    for names, expected in ((NAMES, NAMES), (None, numbers), (NAMES[:2], some)):
        opened = sets(names)
        found = agree(replace(config, num_classes=3), opened, None, {})
        assert found == (tuple(expected), opened, [])


@pytest.mark.parametrize("known", [[], NAMES, ["0", "1", "2"]])
def test_a_run_goes_on_where_names_agree_or_were_not_known(config, sets, known):
    opened, config = sets(NAMES), replace(config, num_classes=3)
    assert agree(config, opened, state(known, {}), {}) == (tuple(NAMES), opened, [])


def test_other_shards_are_mapped_to_the_names_of_the_run(config, sets):
    config, opened = replace(config, num_classes=3), sets(["cat", "ant", "bee"])
    names, mapped, (line,) = agree(config, opened, state(NAMES, {"a": 1}), {"a": 2})
    assert names == tuple(NAMES)
    assert mapped.train_renumber == mapped.heldout_renumber == (2, 0, 1)
    assert "they are mapped by name" in line


def test_held_out_images_are_mapped_through_both_orders(sets):
    opened = replace(sets(NAMES), heldout_renumber=(1, 2, 0))
    assert opened.renumbered((2, 0, 1)).heldout_renumber == (0, 1, 2)


def test_the_same_shards_in_another_order_are_refused(config, sets):
    config = replace(config, num_classes=3)
    with pytest.raises(UserError, match=r"in another order than when this run began, beside the"):
        agree(config, sets(["cat", "ant", "bee"]), state(NAMES, {}), {})


def test_other_classes_are_refused_by_name(config, sets):
    config = replace(config, num_classes=3)
    said = "'bee' only in before and 'owl' only in .*--classes-from before"
    with pytest.raises(UserError, match=said):
        agree(config, sets(["ant", "cat", "owl"]), state(NAMES, {}), {"a": 2})


def test_a_set_without_names_is_taken_to_mean_those_of_the_run(config, sets):
    config = replace(config, num_classes=3)
    names, _, (line,) = agree(config, sets(None), state(NAMES, {}), {})
    assert names == tuple(NAMES)
    assert line.startswith("no classes.json beside ")


def test_torch_is_not_imported():
    code = "import sys; import ssl_swin.runs.classes; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def weighed(config, weights):
    finetune = replace(config.finetune, class_weights=weights)
    return given_weights(replace(config, finetune=finetune), tuple(NAMES))


def test_weights_are_in_the_order_of_the_classes(config):
    assert weighed(config, (3.0, 2.0, 0.0)) == (3.0, 2.0, 0.0)
    assert weighed(config, {"cat": 5, "ant": 0.5}) == (0.5, 1.0, 5.0)
    assert weighed(config, "balanced") == weighed(config, "none") == ()


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"cats": 5.0}, r"names 'cats', which is no class; .* 'cat'; did you mean cat\?$"),
        ((1.0, 2.0), r"has 2 numbers, and there are 3 classes, 'ant', 'bee', 'cat': give one"),
    ],
)
def test_weights_of_other_classes_are_refused(config, weights, said):
    with pytest.raises(UserError, match=rf"^finetune\.class_weights {said}"):
        weighed(config, weights)
