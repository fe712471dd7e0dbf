import numpy as np
import pytest

from ssl_swin.data.pixels.array_files import Raw
from ssl_swin.data.pixels.bands import bands_of, channels_last, read_bands
from ssl_swin.data.pixels.decode import Bands, UnreadableImage
from ssl_swin.errors import UserError
from tests.data.pixels.test_array_files import npy, numbers, tiff


@pytest.mark.parametrize("channels", [None, (3, 0, 3), (13,)])
def test_channels_are_chosen_and_ordered_to_the_last_bit(channels):
    array = numbers((14, 20, 30), "float32")
    found = read_bands(npy(array), Bands("float32", channels), 10_000)
    wanted = array.transpose(1, 2, 0)
    wanted = wanted if channels is None else wanted[:, :, list(channels)]
    np.testing.assert_array_equal(found, wanted, strict=True)
    assert found.flags.c_contiguous


@pytest.mark.parametrize(
    ("shape", "axis", "found"),
    [
        ((14, 20, 30), None, (20, 30, 14)),
        ((20, 30, 14), None, (20, 30, 14)),
        ((20, 30), None, (20, 30, 1)),
        ((14, 8, 30), "first", (8, 30, 14)),
        ((20, 30, 40), "last", (20, 30, 40)),
        ((8, 8, 8), "first", (8, 8, 8)),
    ],
)
def test_where_channels_are_is_told_by_sizes_or_by_a_setting(shape, axis, found):
    assert channels_last(Raw(np.zeros(shape)), axis).shape == found


@pytest.mark.parametrize("shape", [(8, 8, 8), (20, 10, 30), (300, 400, 500), (4, 9, 4)])
def test_where_it_cannot_be_told_the_setting_is_named(shape):
    with pytest.raises(UnreadableImage, match=r"data\.channel_axis to first or last"):
        channels_last(Raw(np.zeros(shape)), None)


def test_what_a_file_says_itself_comes_before_its_sizes():
    array = numbers((20, 6, 30), "uint16")  # 20 bands, of 6 rows
    data = tiff(array, photometric="minisblack", planarconfig="separate")
    found = read_bands(data, Bands("uint16", channel_axis="last"), 10_000)
    np.testing.assert_array_equal(found, array.transpose(1, 2, 0), strict=True)


@pytest.mark.parametrize(
    ("held", "wanted"),
    [("uint8", "uint16"), ("uint8", "float32"), ("int16", "float32"), ("float16", "float32")],
)
def test_what_fits_into_the_type_is_taken(held, wanted):
    array = numbers((6, 5), held)
    found = read_bands(npy(array), Bands(wanted), 10_000)[:, :, 0]
    np.testing.assert_array_equal(found, array.astype(wanted), strict=True)


def test_float64_is_rounded_to_float32():
    array = numbers((6, 5), "float64")
    array[0, 0], array[0, 1] = 1e300, np.nan
    found = read_bands(npy(array), Bands("float32"), 10_000)[:, :, 0]
    assert np.isinf(found[0, 0])
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found, array.astype(np.float32), strict=True)


@pytest.mark.parametrize(
    ("held", "bands", "said"),
    [
        ("float32", Bands("uint16"), "it holds float32, which data.dtype=uint16 cannot"),
        ("uint16", Bands("int16"), "it holds uint16"),
        ("float64", Bands("float16"), "it holds float64"),
        (
            "uint16",
            Bands("uint16", (0, 4)),
            "it has 4 channels, and data.channels asks for",
        ),
        (
            "uint16",
            Bands("uint16", (0, 1), num_in_file=5),
            "it has 4 channels, and channels.json names 5",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(held, bands, said):
    with pytest.raises(UnreadableImage) as caught:
        read_bands(npy(numbers((4, 20, 30), held)), bands, 10_000)
    assert said in str(caught.value)


def test_files_in_another_order_are_read_by_name_where_both_have_names():
    bands = Bands("uint16", (1, 0), shown=(1,))
    found = bands.of_files(("nir", "red"), ("red", "x", "nir"), "a.tar")
    assert found == Bands("uint16", (2, 0), num_in_file=3, shown=(1,))
    assert bands.of_files(None, ("red", "nir"), "a.tar") == bands
    assert bands.of_files(("nir", "red"), None, "a.tar") == bands
    with pytest.raises(UserError, match=r"asks for 'nir'; the channels of a\.tar are red, blue"):
        bands.of_files(("nir", "red"), ("red", "blue"), "a.tar")


@pytest.mark.parametrize(("chans", "taken"), [(1, False), (2, True), (3, False), (4, True)])
def test_arrays_of_8_bits_are_colours_if_they_are_grey_or_rgb(chans, taken):
    found = bands_of(npy(numbers((20, 30, chans), "uint8")), 10_000)
    assert (found is not None) == taken
