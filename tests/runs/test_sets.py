import json
import subprocess
import sys
from dataclasses import replace

import pytest

from ssl_swin.config.data import LabelledDataConfig, SetConfig
from ssl_swin.config.run import FinetuneConfig
from ssl_swin.errors import ShardError, UserError
from ssl_swin.runs.sets import check_labels, open_run_sets
from tests.data.shards.tars import image_bytes, samples, write_tar

RGB = {"mean": (0.5,) * 3, "std": (0.5,) * 3}


@pytest.fixture
def config(tmp_path):
    """Of a training set and a held-out one, without names."""
    for name in ("train", "val"):
        (tmp_path / name).mkdir()
        write_tar(tmp_path / name / "a.tar", samples(4))
    folders = {"shards": str(tmp_path / "train"), "val_shards": str(tmp_path / "val")}
    return FinetuneConfig(str(tmp_path / "run"), LabelledDataConfig(**folders, **RGB), 3)


def name_classes(tmp_path, **names):
    for folder, classes in names.items():
        (tmp_path / folder / "classes.json").write_text(json.dumps(classes))


def test_sets_that_agree_need_no_word(config, tmp_path):
    name_classes(tmp_path, train=["ant", "bee", "cat"], val=["ant", "bee", "cat"])
    opened = open_run_sets(config)
    assert (opened.said, opened.heldout_renumber) == ([], None)
    assert [one.num_samples for one in (*opened.train, opened.heldout)] == [4, 4]


@pytest.mark.parametrize("named", ["", "train", "val"])
def test_sets_without_names_are_told_and_go_on(config, tmp_path, named):
    name_classes(tmp_path, **({named: ["ant", "bee", "cat"]} if named else {}))
    opened = open_run_sets(config)
    (line,) = opened.said
    without = [str(tmp_path / name) for name in ("train", "val") if name != named]
    assert line.startswith(f"no classes.json beside {' or '.join(without)}: ")
    alone = replace(config, data=replace(config.data, val_shards=None))
    assert open_run_sets(alone).said == []


def test_another_order_is_mapped_by_name_and_told(config, tmp_path):
    name_classes(tmp_path, train=["ant", "bee", "cat"], val=["cat", "ant", "bee"])
    opened = open_run_sets(config)
    assert opened.heldout_renumber == (2, 0, 1)
    assert opened.said == [
        f"classes are in another order in {tmp_path}/val: they are mapped by name"
    ]


def test_another_class_is_refused_by_name(config, tmp_path):
    name_classes(tmp_path, train=["ant", "bee", "cat"], val=["ant", "cat"])
    with pytest.raises(ShardError, match=r"other classes: 'bee' only in .*train; pack .*val again"):
        open_run_sets(config)


def test_training_sets_in_another_order_are_refused(config, tmp_path):
    name_classes(tmp_path, train=["ant", "bee", "cat"], val=["cat", "ant", "bee"])
    sets = tuple(SetConfig(str(tmp_path / name), 1.0) for name in ("train", "val"))
    data = LabelledDataConfig(sets=sets, **RGB)
    with pytest.raises(UserError, match=r"has the classes of .*train in another order; pack"):
        open_run_sets(replace(config, data=data))


def test_spellings_and_numbers_of_classes_are_warned_of(config, tmp_path):
    names = ["Bird", "bird", "cat", "dog"]
    name_classes(tmp_path, train=names, val=names)
    said = open_run_sets(config).said
    assert f"warning: the classes 'Bird' and 'bird' of {tmp_path}/train may be one thing" in said
    assert f"warning: num_classes=3, and {tmp_path}/train names 4 classes" in said


def test_a_held_out_set_of_nothing_says_so(config, tmp_path):
    write_tar(tmp_path / "val" / "a.tar", [("x.txt", b"")])
    message = r"data\.val_shards=.*val holds no image; .*1 keys without an image, as 'x\."
    with pytest.raises(UserError, match=message):
        open_run_sets(config)


def test_what_is_left_out_is_told_of_each_set_once(config, tmp_path):
    for name in ("train", "val"):
        write_tar(tmp_path / name / "b.tar", [*samples(2), (".x.png", b"")])
    said = open_run_sets(config).said
    assert [line for line in said if line.startswith("left out of")] == [
        f"left out of {tmp_path}/{name}: 1 hidden, or in folders such as @eaDir and __MACOSX, as "
        "'.x.png'"
        for name in ("train", "val")
    ]
    again = replace(config, data=replace(config.data, val_shards=config.data.shards))
    assert sum(line.startswith("left out of") for line in open_run_sets(again).said) == 1


@pytest.mark.parametrize("order", [["ant", "bee", "cat"], ["cat", "bee", "ant"]])
def test_a_class_that_only_held_out_images_have_is_warned_of(config, tmp_path, order):
    name_classes(tmp_path, train=["ant", "bee", "cat"], val=order)
    for name, kinds in (("train", "0101"), ("val", "0222")):
        labels = [(f"{place}.cls", kind.encode()) for place, kind in enumerate(kinds)]
        images = [(f"{place}.png", image_bytes(place)) for place in range(4)]
        pairs = zip(images, labels, strict=True)
        write_tar(tmp_path / name / "a.tar", [one for pair in pairs for one in pair])
    opened = open_run_sets(config)
    (line,) = check_labels(config, opened)
    assert line.startswith("warning: held-out images are of 'cat', and no training image is")
    number = {"train_renumber": (2, 0, 1), "heldout_renumber": (2, 0, 1)}
    if order[0] == "ant":  # as of a run that goes on with other shards
        assert check_labels(config, replace(opened, **number)) == [line]
    assert check_labels(config, replace(opened, heldout=None)) == []


def test_torch_is_not_imported():
    code = "import sys; import ssl_swin.runs.sets; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
