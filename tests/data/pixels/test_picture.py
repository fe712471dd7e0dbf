import numpy as np
import pytest

from ssl_swin.data.pixels.decode import Bands, Reading
from ssl_swin.data.pixels.picture import Stretch, as_colours, picture, there
from tests.data.pixels.test_array_files import npy, numbers


@pytest.mark.parametrize(("chans", "shown"), [(1, 1), (2, 3), (3, 3), (4, 3), (14, 3)])
def test_any_number_of_channels_becomes_grey_or_rgb(chans, shown):
    values = numbers((2, 20, 30, chans), "float32")
    found = as_colours(values)
    assert (found.shape, found.dtype) == ((2, 20, 30, shown), np.uint8)
    assert found.reshape(-1, shown).min(axis=0).max() == 0
    assert found.reshape(-1, shown).max(axis=0).min() == 255


def test_two_channels_are_magenta_and_green():
    values = np.zeros((1, 2, 2, 2), np.uint16)
    values[0, 0, 0, 0] = values[0, 1, 1, 1] = 1000
    found = as_colours(values)
    assert found[0, 0, 0].tolist() == [255, 0, 255]
    assert found[0, 1, 1].tolist() == [0, 255, 0]


def test_colours_of_8_bits_stay_as_they_are():
    values = numbers((1, 5, 6, 3), "uint8")
    np.testing.assert_array_equal(as_colours(values), values, strict=True)


def test_of_many_channels_the_first_component_is_what_they_share():
    shared = np.random.default_rng(0).standard_normal((1, 40, 40, 1))
    noise = np.random.default_rng(1).standard_normal((1, 40, 40, 8))
    values = 1000 + np.arange(8) * 50 + shared * 100 + noise
    red = as_colours(values.astype(np.float32))[..., 0].astype(float).ravel()
    assert np.corrcoef(red, shared.ravel())[0, 1] > 0.95  # the right way round, too


@pytest.mark.parametrize("shown", [(4,), (3, 0, 9), (2, 2, 2)])
def test_channels_that_are_chosen_are_shown_each_stretched_by_itself(shown):
    values = numbers((1, 20, 30, 10), "float32") * np.arange(1, 11, dtype=np.float32)
    found = as_colours(values, shown=shown)
    for place, channel in enumerate(shown):
        alone = as_colours(values[..., [channel]])
        np.testing.assert_array_equal(found[..., place], alone[..., 0])


def test_chosen_channels_of_8_bits_are_stretched_too():
    values = numbers((1, 5, 6, 3), "uint8") // 4
    assert as_colours(values, shown=(2, 1, 0)).max() == 255


def test_outliers_and_what_is_none_do_not_set_the_scale():
    values = np.tile(np.linspace(0, 100, 400, dtype=np.float32).reshape(1, 20, 20, 1), (1, 1, 1, 3))
    clean = as_colours(values)
    values[0, 0, 0], values[0, 19, 19] = np.nan, 1e9
    found = as_colours(values)
    assert found[0, 0, 0].tolist() == [0, 0, 0]
    assert np.abs(found[0, 1:19].astype(int) - clean[0, 1:19]).max() <= 3
    values = np.where(np.isfinite(values), values, -1).astype(np.int16)
    assert not there(values, -1)[0, 0, 0].any()
    assert as_colours(values, nodata=-1)[0, 0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("value", [0.0, np.nan, 5.0])
def test_an_image_of_one_number_or_of_none_is_drawn(value):
    found = as_colours(np.full((1, 4, 4, 5), value, np.float32))
    assert found.shape == (1, 4, 4, 3)


def test_a_stretch_is_of_some_numbers_and_for_others():
    values = numbers((1, 10, 10, 1), "float32")
    stretch = Stretch.of(values)
    np.testing.assert_array_equal(stretch(values[:, :5]), stretch(values)[:, :5])


def test_a_file_is_drawn_as_it_is_read():
    data = npy(numbers((6, 20, 30), "uint16"))
    found = picture(data, 2, Reading(bands=Bands("uint16", (4, 0))))
    assert (found.size, found.mode) == ((30, 20), "RGB")
    one = picture(data, 2, Reading(bands=Bands("uint16", (4, 0), shown=(1,))))
    alone = picture(data, 1, Reading(bands=Bands("uint16", (0,))))
    assert one.mode == "L"
    assert one.tobytes() == alone.tobytes()
    data = npy(numbers((20, 30, 3), "uint8"))
    assert picture(data, 3, Reading()).size == (30, 20)
