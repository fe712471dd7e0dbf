"""The table of formats: one line adds one, from the tar to the batch."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from ssl_swin.__main__ import run
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.open import open_shards
from ssl_swin.data.order.lanes import Share
from ssl_swin.data.pixels.decode import Reading, UnreadableImage
from ssl_swin.data.pixels.formats import (
    IMAGE_FORMATS,
    ImageFormat,
    by_extension,
    decode,
    open_image,
)
from ssl_swin.data.pixels.jpeg import open_jpeg
from ssl_swin.data.pixels.transforms import EvaluationTransform
from ssl_swin.data.shards.reader import ShardReader
from tests.data.pixels.pictures import encoded, noise, png
from tests.data.shards.tars import image_bytes, write_tar


def toy_bytes(seed, size=(20, 16)):
    """A format of this test: its name, width, height, and grey pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, size[::-1], dtype=np.uint8)
    return b"TOY" + bytes(size) + pixels.tobytes()


def open_toy(data, _max_pixels=0):
    return Image.frombytes("L", (data[3], data[4]), data[5:])


@pytest.fixture
def toy(monkeypatch):
    line = ImageFormat(("toy",), True, lambda data: data.startswith(b"TOY"), open_toy)
    monkeypatch.setitem(IMAGE_FORMATS, "TOY", line)


@pytest.mark.usefixtures("toy")
def test_a_new_format_is_one_line_from_the_tar_to_the_batch(tmp_path, capsys):
    write_tar(tmp_path / "a.tar", [(f"{i}.toy", toy_bytes(i)) for i in range(4)])
    assert run(["shards", "index", str(tmp_path)]) == 0
    assert run(["shards", "verify", str(tmp_path), "--num-workers=1"]) == 0
    assert run(["shards", "info", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "4 samples in 1 shards can be read" in text
    assert "4, 0 of them unreadable" in text
    stream = ImageStream(open_shards(str(tmp_path)), EvaluationTransform(16, 1.0), 16, 1)
    batch = stream.__getitems__(Share(0, np.arange(4)))
    assert batch["replaced"].tolist() == [-1] * 4
    for i, image in enumerate(batch["image"].numpy()):
        whole = np.frombuffer(toy_bytes(i)[5:], np.uint8).reshape(16, 20)
        assert (image[0] == whole[:, 2:18]).all()


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(("options", "packed"), [([], "toy"), (["--short-side=8"], "png")])
def test_a_new_format_is_packed_and_what_is_broken_left_out(tmp_path, options, packed):
    source, out = tmp_path / "images", tmp_path / "shards"
    source.mkdir()
    for i in range(3):
        (source / f"{i}.toy").write_bytes(toy_bytes(i))
    (source / "cut.toy").write_bytes(toy_bytes(3)[:-1])
    arguments = ["shards", "create", str(source), str(out), "--max-bad-share=1", *options]
    assert run([*arguments, "--num-workers=1"]) == 0
    assert (out / "bad_files.txt").read_text().startswith("cut.toy\tValueError: not enough")
    reader = ShardReader(open_shards(str(out)))
    assert reader.shards.num_samples == 3
    files = sorted(reader.read(0, row) for row in range(3))
    if packed == "toy":
        assert files == sorted(toy_bytes(i) for i in range(3))
    else:
        small = [np.asarray(open_image(file)).tolist() for file in files]
        images = [open_toy(toy_bytes(i)).resize((10, 8), Image.Resampling.BICUBIC) for i in (0, 1)]
        assert all(np.asarray(image).tolist() in small for image in images)


def test_a_format_that_is_not_in_the_table_is_no_image(tmp_path):
    write_tar(tmp_path / "a.tar", [("0.toy", toy_bytes(0)), ("1.png", image_bytes(1))])
    assert open_shards(str(tmp_path)).num_samples == 1
    with pytest.raises(UnreadableImage, match="UnidentifiedImageError"):
        decode(toy_bytes(0), in_chans=1)


def test_a_format_says_itself_why_a_file_is_unreadable(monkeypatch):
    def refuse(data, _max_pixels):
        raise UnreadableImage(f"{len(data)} bytes of nothing")

    monkeypatch.setitem(
        IMAGE_FORMATS, "NONE", ImageFormat((), True, lambda data: data[:1] == b"N", refuse)
    )
    with pytest.raises(UnreadableImage, match=r"^3 bytes of nothing$"):
        decode(b"NNN", in_chans=3)


def test_a_format_that_pillow_knows_is_one_line_too(monkeypatch):
    data = image_bytes(0, "JPEG2000", (40, 30))
    with pytest.raises(UnreadableImage):
        decode(data, in_chans=3)
    monkeypatch.setitem(IMAGE_FORMATS, "JPEG2000", ImageFormat(("jp2",), lossless=False))
    assert "jp2" in by_extension()
    assert decode(data, in_chans=3).size == (40, 30)


def test_the_images_of_the_shard_contract_are_in_the_table():
    lossy = {"jpg", "jpeg", "jfif", "jpe", "webp"}
    lossless = {"png", "apng", "tif", "tiff", "bmp", "gif", "ppm", "pgm", "pbm", "pnm"}
    lossless |= {"npy", "npz"}
    assert set(by_extension()) == lossy | lossless
    assert {name for name, kind in by_extension().items() if kind.lossless} == lossless


def test_a_format_that_is_read_has_its_extensions_in_the_table():
    for extension, kind in Image.registered_extensions().items():
        if kind in IMAGE_FORMATS and extension != ".pfm":  # fractions, which are not read
            assert extension[1:] in IMAGE_FORMATS[kind].extensions


@pytest.mark.parametrize("kind", ["BMP", "GIF", "PPM"])
def test_files_with_the_name_of_another_format_are_read(kind):
    assert decode(image_bytes(0, kind), in_chans=3).size == (6, 4)


@pytest.mark.parametrize("kind", ["ICO", "EPS", "TGA"])
def test_pillow_is_not_asked_about_formats_that_are_not_in_the_table(kind):
    with pytest.raises(UnreadableImage):
        decode(image_bytes(0, kind, (16, 16)), in_chans=3)


@pytest.mark.filterwarnings("ignore")  # Pillow's, of broken metadata
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF"])
def test_broken_images_are_unreadable_and_nothing_else(kind):
    data = encoded(noise("RGB", (40, 40)), kind)
    for size in (1, 10, 40, len(data) // 2):
        with pytest.raises(UnreadableImage):
            decode(data[:size], in_chans=3)
    draw = np.random.default_rng(0)
    for _ in range(100):
        mutated = bytearray(data)
        for place in draw.integers(0, min(len(data), 200), 3):
            mutated[place] = draw.integers(256)
        try:
            assert decode(bytes(mutated), in_chans=3).mode == "RGB"
        except UnreadableImage:
            continue


@pytest.mark.parametrize("data", [b"", b"\0", b"no image", bytes(1000)])
def test_what_is_no_image_is_unreadable(data):
    with pytest.raises(UnreadableImage):
        decode(data, in_chans=3)


def test_a_decompression_bomb_is_unreadable(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(UnreadableImage, match="DecompressionBomb"):
        decode(encoded(noise("RGB")), in_chans=3)


def test_a_limit_of_ones_own_admits_more_pixels_or_fewer(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # put back
    large = png(20_000, 10_000, 8, 2, b"")
    with pytest.raises(UnreadableImage, match=r"DecompressionBomb.*max_pixels admits larger"):
        open_image(large)
    assert open_image(large, max_pixels=200_000_000).size == (20_000, 10_000)
    for kind in ("PNG", "JPEG"):
        small = encoded(noise("RGB", (7, 5)), kind)
        assert decode(small, 3, Reading(max_pixels=35)).size == (7, 5)
        with pytest.raises(UnreadableImage, match="7 x 5 pixels, more than max_pixels=34"):
            decode(small, 3, Reading(max_pixels=34))
    assert open_jpeg(small, max_pixels=35) is not None
    assert open_jpeg(small, max_pixels=34) is None


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 1), (1, 2**31 - 1)])
def test_a_small_file_that_claims_a_huge_picture_is_left_out(size):
    with pytest.raises(UnreadableImage):
        decode(png(*size, 8, 2, bytes(1000)), in_chans=3)


def test_text_that_unpacks_to_a_gigabyte_is_left_out():
    bomb = (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**27)))
    with pytest.raises(UnreadableImage, match="Decompressed data too large"):
        decode(png(1, 1, 8, 2, bytes(4), bomb), in_chans=3)


# Pillow 11 writes broken MPOs, and warns when it opens one.
@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.filterwarnings("ignore:Image appears to be a malformed MPO file")
@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_of_several_pictures_the_first_is_taken(kind):
    first, *others = (
        Image.new("RGB", (16, 16), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    )
    data = encoded(first, kind, save_all=True, append_images=others)
    with Image.open(io.BytesIO(data)) as image:
        if kind == "MPO" and image.format != "MPO":
            pytest.skip("this Pillow cannot read the MPO that it writes")
        assert image.n_frames == 3
    found = np.asarray(decode(data, in_chans=3)).astype(int)
    assert abs(found - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_progressive_jpeg_is_the_same_picture(mode):
    image = Image.open(io.BytesIO(image_bytes(0, size=(40, 30)))).convert(mode)
    baseline, progressive = (encoded(image, "JPEG", progressive=p) for p in (False, True))
    assert baseline != progressive
    assert decode(baseline, 3).tobytes() == decode(progressive, 3).tobytes()
