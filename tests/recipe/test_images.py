import json
import shutil

import numpy as np
import pytest
from PIL import Image

from ssl_swin.data.pixels.decode import Bands
from ssl_swin.errors import ShardError, UserError
from ssl_swin.recipe.images import look_at
from ssl_swin.recipe.numbers import Told
from tests.conftest import png
from tests.data.pixels.pictures import encoded


@pytest.fixture
def photos(tmp_path):
    """Six RGB images in two classes; an empty file is none."""
    for number in range(6):
        place = tmp_path / "photos" / ("cat" if number % 2 else "dog") / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png(number, (40 + number, 60), "RGB"))
    return tmp_path / "photos"


def test_a_folder_of_files_is_not_packed_and_has_classes(photos):
    images = look_at(str(photos))
    assert (images.shards, images.val_shards, images.num) == (None, None, 6)
    assert images.classes == ("cat", "dog")
    assert images.labelled_share == 1
    assert images.short_sides == (40, 42, 45)
    assert look_at(str(photos)) == images


def test_folders_that_are_sets_are_no_classes(photos, tmp_path):
    for name in ("train", "val"):
        shutil.copytree(photos, tmp_path / "sets" / name)
    images = look_at(str(tmp_path / "sets"))
    assert (images.num, images.classes) == (12, ("cat", "dog"))
    assert (images.split, images.held_out) == ("folders", "val")


def test_statistics_are_those_of_the_pixels(photos):
    images = look_at(str(photos))
    files = sorted(photos.rglob("*.png"))
    pixels = [np.asarray(Image.open(file)).reshape(-1, 3) / 255 for file in files]
    assert images.mean == pytest.approx(np.concatenate(pixels).mean(0), abs=1e-3)
    assert images.std == pytest.approx(np.concatenate(pixels).std(0), abs=1e-3)


def test_grey_images_have_one_channel_also_where_files_have_three(tmp_path):
    picture = Image.fromarray(np.arange(900, dtype=np.uint8).reshape(30, 30))
    (tmp_path / "a.png").write_bytes(encoded(picture))
    (tmp_path / "b.png").write_bytes(encoded(picture.convert("RGB")))
    assert look_at(str(tmp_path)).in_chans == 1
    (tmp_path / "c.png").write_bytes(png(0, mode="RGB"))
    assert look_at(str(tmp_path)).in_chans == 3


def test_of_10_bits_in_16_white_is_found(tmp_path):
    values = np.linspace(0, 1000, 900).astype(np.uint16).reshape(30, 30)
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(values)))
    images = look_at(str(tmp_path))
    assert (images.black, images.white) == (0, 1023)
    assert images.mean[0] == pytest.approx(500 / 1023, abs=0.01)


def test_shards_are_looked_at_as_they_are(tiny_shards):
    folder = tiny_shards([9, 7])
    images = look_at(str(folder))
    assert (images.shards, images.num, images.in_chans) == (str(folder), 16, 1)
    assert images.labelled_share == 1
    assert images.classes == ()  # no classes.json


def test_of_split_shards_train_and_val_are_taken(tiny_shards, tmp_path):
    for name in ("train", "val"):
        shutil.copytree(tiny_shards([4]), tmp_path / name)
    (tmp_path / "train" / "classes.json").write_text(json.dumps(["a", "b"]))
    images = look_at(str(tmp_path))
    assert images.shards == str(tmp_path / "train")
    assert images.val_shards == str(tmp_path / "val")
    assert images.classes == ("a", "b")
    shutil.rmtree(tmp_path / "val")
    assert look_at(str(tmp_path)).val_shards is None


def test_unreadable_images_are_counted_and_not_all_may_be(tiny_shards):
    images = look_at(str(tiny_shards([4], broken=[1])))
    assert images.unreadable_share == 0.25
    with pytest.raises(UserError, match="none of the 4 images"):
        look_at(str(tiny_shards([4], broken=range(4))))


def test_nothing_to_look_at_is_an_error(tmp_path):
    with pytest.raises(ShardError, match="holds no image"):
        look_at(str(tmp_path))
    with pytest.raises(UserError, match="nowhere is not there"):
        look_at(str(tmp_path / "nowhere"))
    with pytest.raises(ShardError, match="matches no tar"):
        look_at(str(tmp_path / "*.tar"))


def test_images_with_numbers_of_their_own_are_told_apart_from_broken_ones(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((20, 30, 14), np.float32))
    images = look_at(str(tmp_path))
    assert (images.in_chans, images.bands) == (14, Bands("float32"))
    assert images.short_sides == (20, 20, 20)
    assert look_at(str(tmp_path), Told(0.0)).bands == Bands("float32", nodata=0.0)
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY no more")
    with pytest.raises(UserError, match="looked at can be decoded"):
        look_at(str(tmp_path))
