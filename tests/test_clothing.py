"""What `data/clothing.py` makes of a clone of the clothing data set."""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.reader import ShardReader

DATA = Path(__file__).parents[1] / "data"
PEOPLE = 8


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("clothing", DATA / "clothing.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clone(tmp_path, recipe):
    """Each person took one photograph of each class, in a grey of their own, and one of none."""
    root = tmp_path / "clone"
    (root / "images").mkdir(parents=True)
    with (root / "images.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "sender_id", "label", "kids"))
        for person in range(PEOPLE):
            for number, label in enumerate((*recipe.CLASSES, "Not sure")):
                name = f"person{person}-{number:02d}"
                writer.writerow((name, person, label, False))
                pixels = np.full((20, 24 + number, 3), 30 * person, np.uint8)
                Image.fromarray(pixels).save(root / "images" / f"{name}.jpg", quality=95)
    return root


def people(pattern):
    """Who took the photographs, and how many they are."""
    shards = open_shards(str(pattern))
    reader = ShardReader(shards)
    places = zip(*shards.locate(np.arange(shards.num_samples)), strict=True)
    names = [reader.key(shard, row).partition("_")[2] for shard, row in places]
    return {name.partition("-")[0] for name in names}, len(names)


@pytest.mark.slow  # four packings, each with processes of its own
def test_nobody_is_on_both_sides_and_every_photograph_on_one(recipe, clone, tmp_path):
    out = tmp_path / "out"
    for _ in range(2):  # done again, it is the same
        recipe.pack(clone, out, seed=0)
    train, num_train = people(out / "train" / "train-*.tar")
    test, num_test = people(out / "test")
    extra, num_extra = people(out / "train" / "extra-*.tar")
    assert train | test == {f"person{person}" for person in range(PEOPLE)}
    assert not train & test
    assert extra == train
    assert num_train + num_test == PEOPLE * len(recipe.CLASSES)
    assert num_test >= recipe.TEST_SHARE * PEOPLE * len(recipe.CLASSES)
    assert num_extra == len(train)
    assert open_shards(str(out / "train")).num_samples == num_train + num_extra


def test_a_photograph_without_label_that_is_also_one_with_a_label_is_left_out(recipe, clone):
    rows = recipe.read_rows(clone)
    images = clone / "images"
    (images / "person1-14.jpg").write_bytes((images / "person0-03.jpg").read_bytes())
    (images / "person2-14.jpg").unlink()
    extra = [row for row in rows if row["label"] == "Not sure"]
    labelled = [row for row in rows if row["label"] != "Not sure"]
    kept = {row["sender_id"] for row in recipe.unlike(images, extra, labelled)}
    assert kept == {str(person) for person in range(PEOPLE)} - {"1", "2"}


def test_a_folder_that_is_no_clone_is_refused(recipe, tmp_path):
    with pytest.raises(ValueError, match="give a clone of the data set"):
        recipe.pack(tmp_path, tmp_path / "out", seed=0)
