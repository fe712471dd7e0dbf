import numpy as np
import pytest
from PIL import Image

from ssl_swin.data.pixels.decode import Reading, UnreadableImage
from ssl_swin.data.pixels.depths import black_and_white, deep_range, depth_warning
from ssl_swin.data.pixels.formats import decode
from tests.data.pixels.pictures import encoded, noise, png


def grey(values, kind="TIFF", dtype="<u2"):
    """A file of one row of numbers."""
    return encoded(Image.fromarray(np.array([values], dtype=dtype)), kind)


def levels(data, in_chans=1, **reading):
    return np.asarray(decode(data, in_chans, Reading(**reading)))[0].tolist()


def test_by_default_16_bits_are_divided_by_257():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found = np.asarray(decode(encoded(Image.fromarray(values), "PNG"), 1))
    assert (found == values // 257).all()
    explicit = decode(encoded(Image.fromarray(values), "PNG"), 1, Reading(white=65535.0))
    assert (np.asarray(explicit) == found).all()


@pytest.mark.parametrize("decoder", ["fast", "pil"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_white_is_what_the_setting_says(kind, decoder):
    data = grey([0, 511, 1022, 1023, 1024, 65535], kind)
    assert levels(data) == [0, 1, 3, 3, 3, 255]
    assert levels(data, decoder=decoder, white=1023) == [0, 127, 254, 255, 255, 255]
    assert levels(data, 3, white=1023)[1] == [127] * 3
    assert levels(data, black=511, white=1023)[:4] == [0, 0, 254, 255]


@pytest.mark.parametrize("dtype", ["<i2", "<i4"])
def test_negative_numbers_are_mapped_from_black_on(dtype):
    data = grey([-1000, 0, 1000], dtype="<i4") if dtype == "<i4" else signed([-1000, 0, 1000])
    assert levels(data) == [0, 0, 3]
    assert levels(data, black=-1000, white=1000) == [0, 127, 255]
    warning = depth_warning([data], Reading())
    assert "1 of 1 images looked at hold numbers from -1000 to 1000, while 0" in warning
    assert "set black=-1000 and white=1000 (data.white in a run" in warning
    assert depth_warning([data], Reading(black=-1000, white=1000)) is None


def signed(values):
    """A TIFF of int16: Pillow writes none, so that of uint16 with another sample format."""
    image = Image.fromarray(np.array([values], dtype="<i2").view("<u2"))
    return encoded(image, "TIFF", tiffinfo={339: 2})


def test_fractions_need_a_white():
    data = grey([0.0, 0.5, 1.0, np.nan], dtype="<f4")
    with pytest.raises(UnreadableImage, match="fractions, with no number agreed for white; set wh"):
        decode(data, 1)
    assert levels(data, white=1) == [0, 127, 255, 0]
    assert "numbers from 0 to 1, while" in depth_warning([data], Reading())
    assert depth_warning([data], Reading(white=1)) is None


@pytest.mark.parametrize("bits", [10, 12])
def test_few_bits_in_16_are_told_with_the_range(bits):
    files = [grey([0, 2**bits - 4]), encoded(noise("RGB"), "JPEG"), b"no image", grey([3, 9])]
    warning = depth_warning(iter(files), Reading())
    assert f"2 of 4 images looked at hold numbers from 0 to {2**bits - 4}, while" in warning
    assert f"set white={2**bits - 1} (" in warning
    assert depth_warning(files, Reading(white=2**bits - 1)) is None
    assert "to 65535, while 0 becomes black and 1023" in depth_warning(
        [grey([0, 65535])], Reading(white=1023)
    )


def test_whole_16_bits_and_8_are_well():
    files = [grey([0, 65535]), grey([5, 9]), encoded(noise("L"), "PNG"), encoded(noise("P"), "PNG")]
    assert depth_warning(files, Reading()) is None
    assert depth_warning([], Reading()) is None


def test_colours_of_few_bits_in_16_are_told():
    values = np.array([[1023, 5, 0]])
    dark = png(1, 1, 16, 2, b"\0" + values.astype(">u2").tobytes())
    assert "1 of 1 images looked at have colours of 16 bits" in depth_warning([dark], Reading())
    bright = png(1, 1, 16, 2, b"\0" + (values * 64).astype(">u2").tobytes())
    assert depth_warning([bright], Reading()) is None


def test_what_is_not_finite_hides_no_range():
    nothing, odd = grey([np.nan] * 3, dtype="<f4"), grey([0.0, np.inf, -np.inf], dtype="<f4")
    said = depth_warning([nothing, odd, grey([0, 1023])], Reading())
    assert said is not None
    assert "2 of 3 images looked at hold numbers from 0 to 1023" in said
    assert depth_warning([nothing], Reading()) is None


@pytest.mark.parametrize(
    ("numbers", "fitting"),
    [
        ((0, 1023), (0, 1023)),
        ((3, 700), (0, 1023)),
        ((0, 65535), (0, None)),
        ((-1000, 2000), (-1000, 2000)),
        ((0, 0.5), (0, 0.5)),
    ],
)
def test_black_and_white_are_made_to_fit_the_numbers(numbers, fitting):
    assert black_and_white(*map(float, numbers)) == fitting


def test_the_range_of_deep_grey_files_is_that_of_all_of_them():
    files = [grey([5, 700]), grey([3, 90], "PNG"), encoded(noise("RGB")), b"no image"]
    assert deep_range(files) == (3, 700)
    assert deep_range(files[2:]) is None
