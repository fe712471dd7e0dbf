import numpy as np
import pytest

from ssl_swin.data.pixels.decode import Bands
from ssl_swin.errors import UserError
from ssl_swin.recipe.numbers import COLOURS, Told, numbers_in, percentiles, settings_of
from tests.data.pixels.test_array_files import npy, tiff


def tiles(num, shape, dtype="float32"):
    rng = np.random.default_rng(0)
    return [rng.normal(1000, 100, shape).astype(dtype) for _ in range(num)]


def test_mean_and_deviation_are_those_of_all_numbers():
    images = tiles(7, (14, 30, 40))
    found = numbers_in("here", [*map(npy, images), b"broken"], COLOURS)
    values = np.stack(images).transpose(1, 0, 2, 3).reshape(14, -1)
    assert found["mean"] == pytest.approx(values.mean(axis=1), rel=1e-5)
    assert found["std"] == pytest.approx(values.std(axis=1), rel=1e-5)
    assert found["bands"] == Bands("float32")
    assert found["short_sides"] == (30, 30, 30)
    assert found["unreadable_share"] == pytest.approx(1 / 8)


def test_what_stands_for_none_is_none_and_a_constant_has_a_deviation():
    images = tiles(3, (20, 30, 6), "uint16")
    for one in images:
        one[:5] = 0
        one[..., 2] = 7
    files = [tiff(one, photometric="minisblack", planarconfig="contig") for one in images]
    found = numbers_in("here", files, Told(nodata=0.0))
    assert found["mean"][0] == pytest.approx(np.stack(images)[:, 5:, :, 0].mean(), rel=1e-5)
    assert (found["mean"][2], found["std"][2]) == (7, 1)
    assert found["bands"] == Bands("uint16", nodata=0.0)


def test_where_channels_are_may_have_to_be_told():
    files = [npy(one) for one in tiles(2, (12, 12, 12))]
    with pytest.raises(UserError, match=r"does not tell where the channels are.*--channel-axis"):
        numbers_in("here", files, COLOURS)
    assert len(numbers_in("here", files, Told(channel_axis="last"))["mean"]) == 12


def test_of_what_is_no_image_it_is_said():
    with pytest.raises(UserError, match="none of the 2 images of here that were looked at can be"):
        numbers_in("here", [b"no", b"image"], COLOURS)


def test_settings_say_how_files_are_read_and_why():
    assert settings_of(None, None) == {}
    found = settings_of(Bands("int16", None, "last", -1.0), ("a", "b"))
    values = {name: one[0] for name, one in found.items()}
    assert values == {
        "dtype": "int16",
        "channels": ["a", "b"],
        "channel_axis": "last",
        "nodata": -1.0,
    }
    assert [*settings_of(Bands("int16"), None)] == ["dtype"]


def test_percentiles_are_whole_pixels():
    assert percentiles([10, 20, 30]) == (11, 20, 29)
