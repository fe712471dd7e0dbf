import numpy as np
import pytest

from ssl_swin.data.open import open_shards
from ssl_swin.errors import ShardError, UserError
from ssl_swin.shard_tools.look import Expected, Kind, look_at
from tests.data.pixels.test_array_files import npy
from tests.data.shards.tars import image_bytes, write_tar

MAX_PIXELS = 10_000


@pytest.fixture
def look(tmp_path):
    def looked(*files, **expected):
        tar = tmp_path / f"{len(list(tmp_path.iterdir()))}.tar"
        write_tar(tar, [(f"{n}.{end}", data) for n, (end, data) in enumerate(files)])
        return look_at(open_shards(str(tar)), Expected(MAX_PIXELS, **expected))

    return looked


def tile(chans=5, dtype="float32", **changed):
    values = np.random.default_rng(0).integers(1, 99, (20, 30, chans)).astype(dtype)
    for place, number in changed.items():
        values[{"everywhere": slice(None), "corner": (slice(4), slice(6))}[place]] = number
    return "npy", npy(values)


def picture(mode="RGB"):
    return "png", image_bytes(0, "PNG", (9, 7), mode)


def test_images_of_one_kind_need_no_word(look):
    found = look(tile(), tile())
    assert found.lines() == []
    assert (found.kind.bands.dtype, found.kind.in_chans) == ("float32", 5)


@pytest.mark.parametrize(("modes", "in_chans"), [("LL", 1), ("LR", 3), ("RR", 3)])
def test_colours_are_grey_where_all_are(look, modes, in_chans):
    found = look(*(picture({"L": "L", "R": "RGB"}[one]) for one in modes))
    assert found.kind == Kind(None, in_chans)
    assert found.lines() == []


def test_other_kinds_are_counted_and_most_are_taken(look):
    found = look(tile(), tile(), picture(), tile(6), tile(dtype="uint16"), tile())
    assert found.kind.in_chans == 5
    (line,) = found.lines()
    assert line.startswith("warning: 6 images looked at are of 4 kinds: 3 of float32, channels: 5;")


def test_what_cannot_be_read_is_named(look):
    found = look(tile(), ("npy", b"text"), tile())
    assert found.lines()[0].startswith("warning: 1 of 3 images looked at cannot be read, such as")
    with pytest.raises(ShardError, match=r"none of 1 images looked at can be read, such as '0'"):
        _ = look(("npy", b"")).kind


def test_an_axis_that_cannot_be_told_may_be_said(look):
    cube = "npy", npy(np.zeros((9, 9, 9), np.float32))
    assert "set data.channel_axis" in look(cube, tile()).lines()[0]
    assert look(cube, channel_axis="first").kind.in_chans == 9


def test_numbers_that_are_none_are_told(look):
    found = look(tile(everywhere=np.nan), tile(corner=np.inf))
    assert "1 of 2 images looked at hold no number at all, such as '0'" in found.lines()[0]
    assert found.lines()[1] == "52 % of their numbers are none"


def test_a_number_that_pixels_hold_in_all_channels_may_stand_for_none(look):
    (line,) = look(tile(corner=-9999), tile(corner=-9999)).lines()
    assert line.startswith("warning: 4 % of the pixels are -9999 in all channels")
    told = look(tile(corner=-9999), nodata=-9999.0).lines()
    assert told == ["4 % of their numbers are none"]
    assert look(tile(1, corner=-9999)).lines() == []  # of one channel that says nothing


@pytest.mark.parametrize("nodata", [-1, 0.5, 65536, float("nan")])
def test_a_number_that_the_images_cannot_hold_is_refused(look, nodata):
    with pytest.raises(UserError, match="is no uint16, which the images hold"):
        look(tile(dtype="uint16"), nodata=nodata)
