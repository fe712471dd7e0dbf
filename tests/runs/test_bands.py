import numpy as np
import pytest
import webdataset

from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.pixels.decode import Bands, Reading
from ssl_swin.errors import UserError
from ssl_swin.runs.bands import require_bands
from tests.data.pixels.test_array_files import npy, numbers


def stream_of(folder, chans, bands, broken=()):
    with webdataset.TarWriter(str(folder / "a.tar")) as tar:
        for place in range(6):
            data = b"no image" if place in broken else npy(numbers((9, 8, 4), "uint16"))
            tar.write({"__key__": str(place), "npy": data})
    return ImageStream(str(folder), img_size=8, in_chans=chans, reading=Reading(bands=bands))


def test_images_that_fit_are_passed_and_so_is_a_set_of_which_some_are_broken(tmp_path):
    require_bands(stream_of(tmp_path, 4, Bands("uint16"), broken=(0, 1)))


@pytest.mark.parametrize(
    ("chans", "bands", "said"),
    [
        (4, Bands("uint8"), "it holds uint16, which data.dtype=uint8 cannot"),
        (3, Bands("uint16"), "it has 4 channels, and data.mean 3"),
        (1, Bands("uint16", (4,)), "it has 4 channels, and data.channels asks for number 4"),
    ],
)
def test_what_no_image_fits_is_told(tmp_path, chans, bands, said):
    with pytest.raises(UserError) as caught:
        require_bands(stream_of(tmp_path, chans, bands))
    assert f"none of 4 images looked at can be read: {said}" in str(caught.value)


def test_colours_are_not_looked_at(tmp_path):
    stream = ImageStream(stream_of(tmp_path, 4, Bands("uint16")).shards, img_size=8)
    require_bands(stream)
    assert np.dtype(np.uint8) == stream.renderer.dtype
