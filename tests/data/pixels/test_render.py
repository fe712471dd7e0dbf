import io

import numpy as np
import pytest
from PIL import Image

from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.open import open_shards
from ssl_swin.data.order.lanes import Share
from ssl_swin.data.pixels.decode import Reading, UnreadableImage
from ssl_swin.data.pixels.render import Renderer
from ssl_swin.data.pixels.transforms import EvaluationTransform, TrainTransform
from tests.data.pixels.pictures import encoded, photograph
from tests.data.shards.tars import write_tar

TRAIN = TrainTransform(0, 64, (0.3, 1.0))
BICUBIC = TrainTransform(0, 64, (0.3, 1.0), interpolation="bicubic")
RANDAUGMENT = TrainTransform(0, 64, (0.3, 1.0), rand_augment="rand-m9-mstd0.5-inc1")
EVALUATION = EvaluationTransform(64)


def rendered(data, transform, decoder, index=0, in_chans=3):
    renderer = Renderer(transform, in_chans, Reading(decoder))
    sample = renderer.prepare(data, 0, index)
    slot = np.zeros((in_chans, 64, 64), np.uint8)
    renderer.write(sample, renderer.decode(sample), slot)
    return slot.astype(int)


def both(data, transform, index=0, in_chans=3):
    return (rendered(data, transform, way, index, in_chans) for way in ("fast", "pil"))


@pytest.mark.parametrize(
    ("transform", "most"),
    [(TRAIN, 2), (BICUBIC, 8), (EVALUATION, 8)],  # bicubic weights sum to more than 1 in between
)
@pytest.mark.parametrize("size", [(200, 150), (90, 170), (40, 30), (64, 64)])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_full_scale_pixels_are_a_level_from_the_reference(transform, most, size, subsampling):
    data = encoded(photograph(size), "JPEG", quality=92, subsampling=subsampling)
    for index in range(6):
        fast, reference = both(data, transform, index)
        assert abs(fast - reference).max() <= most
        assert abs(fast - reference).mean() < 0.4


@pytest.mark.parametrize("size", [(1, 30000), (30000, 1), (3, 60000), (60000, 2), (9, 60000)])
def test_the_centre_of_a_line_is_shown_without_resizing_all_of_it(size):
    """Whole, these would be 107 million pixels or more; the last one, 36, is as before."""
    line = np.sin(np.arange(max(size)) / max(size) * 40) * 100 + 128
    pixels = np.broadcast_to(line, (min(size), max(size))).astype(np.uint8)
    pixels = pixels if size[0] > size[1] else pixels.T
    image = Image.fromarray(np.repeat(pixels[..., None], 3, 2))
    crop = EVALUATION.crop(size, 0, 0)
    assert crop.size[0] * crop.size[1] < 2**28 // 3
    assert (crop.size == (64, 64)) is (size != (9, 60000))
    data = encoded(image, "JPEG", quality=95)
    fast, reference = (rendered(data, EVALUATION, way) for way in ("fast", "pil"))
    centre = line[max(size) // 2]
    assert abs(fast - reference).max() <= 8
    assert abs(reference - centre).max() < 12


@pytest.mark.parametrize("transform", [TRAIN, BICUBIC, EVALUATION])
@pytest.mark.parametrize("size", [(801, 603), (1031, 1500)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_smaller_scales_stay_close_to_the_reference(transform, size, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photograph(size), "JPEG", quality=92, exif=exif)
    for index in range(2):
        fast, reference = both(data, transform, index)
        assert 10 * np.log10(255**2 / ((fast - reference) ** 2).mean()) > 44  # PSNR, dB


@pytest.mark.parametrize("transform", [TRAIN, BICUBIC, EVALUATION])
def test_grey_images_are_close_too(transform):
    data = encoded(photograph(mode="L"), "JPEG")
    fast, reference = both(data, transform, in_chans=1)
    assert abs(fast - reference).max() <= 2
    fast, reference = both(data, transform, in_chans=3)
    assert abs(fast - reference).max() <= 2
    assert (fast[0] == fast[2]).all()


@pytest.mark.parametrize("transform", [TRAIN, RANDAUGMENT, EVALUATION])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_what_is_no_jpeg_has_the_pixels_of_the_reference(transform, kind):
    fast, reference = both(encoded(photograph(), kind), transform)
    assert (fast == reference).all()


def test_what_libjpeg_warns_of_has_the_pixels_of_the_reference():
    data = encoded(photograph(), "JPEG")
    data = data[:-2] + b"stray bytes" + data[-2:]
    fast, reference = both(data, TRAIN)
    assert (fast == reference).all()


def test_rand_augment_does_the_same_on_both_ways():
    data = encoded(photograph(), "JPEG", quality=95)
    for index in range(20):
        fast, reference = both(data, RANDAUGMENT, index)
        assert abs(fast - reference).mean() < 3  # posterize and equalize enlarge one level
    plain, changed = rendered(data, TRAIN, "fast"), rendered(data, RANDAUGMENT, "fast")
    assert (plain != changed).any()


@pytest.mark.parametrize("decoder", ["fast", "pil"])
def test_rand_augment_takes_grey_images(decoder):
    transform = TrainTransform(0, 64, (0.3, 1.0), rand_augment="rand-m5", mean=(0.5,))
    data = encoded(photograph(mode="L"), "JPEG")
    changed = [rendered(data, transform, decoder, index, in_chans=1) for index in range(10)]
    plain = [rendered(data, TRAIN, decoder, index, in_chans=1) for index in range(10)]
    assert sum((one != other).any() for one, other in zip(changed, plain, strict=True)) > 3


@pytest.mark.parametrize("decoder", ["fast", "pil"])
def test_flips_mirror_the_same_crop(decoder):
    data = encoded(photograph(), "JPEG")
    never, always = (TrainTransform(0, 64, (0.3, 1.0), hflip=share) for share in (0.0, 1.0))
    plain = rendered(data, never, decoder)
    assert (rendered(data, always, decoder) == plain[:, :, ::-1]).all()


@pytest.mark.parametrize("decoder", ["fast", "pil"])
@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff\xe0 no image"])
def test_what_is_no_image_is_unreadable(decoder, data):
    with pytest.raises(UnreadableImage):
        rendered(data, TRAIN, decoder)


@pytest.mark.parametrize("decoder", ["fast", "pil"])
def test_a_batch_holds_what_its_samples_are_alone_and_replaces_cut_jpegs(tmp_path, decoder):
    images = [encoded(photograph((90, 70), seed=i), "JPEG") for i in range(20)]
    images[4] = images[4][: len(images[4]) // 2]  # its header is whole
    images[19] = encoded(Image.open(io.BytesIO(images[19])), "PNG")
    write_tar(tmp_path / "a.tar", [(f"{i:04d}.jpg", data) for i, data in enumerate(images)])
    stream = ImageStream(open_shards(str(tmp_path)), TRAIN, 64, 3, reading=Reading(decoder))
    batch = stream.__getitems__(Share(0, np.arange(20)))
    read = [5 if i == 4 else i for i in range(20)]
    assert batch["index"].tolist() == read
    for i, pixels in zip(read, batch["image"].numpy(), strict=True):
        assert (pixels == rendered(images[i], TRAIN, decoder, i)).all()
