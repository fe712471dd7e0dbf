import io

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.open import open_shards
from ssl_swin.data.order.lanes import Share
from ssl_swin.data.pixels.decode import ORIENTATION, Reading
from ssl_swin.data.pixels.transforms import EvaluationTransform
from ssl_swin.errors import UserError
from ssl_swin.models.normalise import Normalisation
from ssl_swin.pretrained.preprocess import Preprocess
from tests.data.pixels.pictures import encoded, noise, photograph
from tests.data.shards.tars import write_tar

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RGB = Preprocess((48, 48), MEAN, STD)
GREY = Preprocess((48, 48), (0.5,), (0.25,))
DEEP = np.arange(60 * 70, dtype=np.uint16).reshape(60, 70)


def turned(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(photograph(), "JPEG", exif=exif)


FILES = {
    "large.jpg": encoded(photograph((900, 500)), "JPEG"),  # decoded at a smaller scale
    "small.jpg": encoded(photograph((70, 50)), "JPEG"),
    "grey.jpg": encoded(photograph(mode="L"), "JPEG"),
    "turned.jpg": turned(6),
    "cmyk.jpg": encoded(photograph(mode="CMYK"), "JPEG"),
    "deep.png": encoded(Image.fromarray(DEEP)),
    "clear.png": encoded(noise("RGBA", (60, 80))),
}


@pytest.mark.parametrize("decoder", ["fast", "pil"])
@pytest.mark.parametrize(("mean", "std"), [(MEAN, STD), ((0.5,), (0.25,))])
def test_it_is_bit_for_bit_what_evaluation_in_training_sees(mean, std, decoder, tmp_path):
    (tmp_path / "tars").mkdir()
    members = [(f"{n}.{name.partition('.')[2]}", FILES[name]) for n, name in enumerate(FILES)]
    shards = open_shards(str(write_tar(tmp_path / "tars" / "a.tar", members)))
    reading = Reading(decoder, black=100, white=4000)
    stream = ImageStream(shards, EvaluationTransform(48, 0.8), 48, len(mean), reading=reading)
    batch = stream.__getitems__(Share(0, np.arange(len(FILES))))
    assert (batch["replaced"] < 0).all()
    seen = Normalisation(mean, std)(batch["image"])
    preprocess = Preprocess((48, 48), mean, std, 0.8, reading)
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    assert torch.equal(preprocess(FILES.values()), seen)
    assert torch.equal(preprocess(tmp_path / name for name in FILES), seen)
    assert torch.equal(preprocess([str(tmp_path / name) for name in FILES]), seen)


def test_one_image_gives_a_batch_of_one_in_whatever_form_it_comes(tmp_path):
    image = photograph((80, 60))
    (tmp_path / "a.png").write_bytes(encoded(image))
    array = np.asarray(image)
    wanted = RGB(image)
    assert (wanted.shape, wanted.dtype) == ((1, 3, 48, 48), torch.float32)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    for same in (tmp_path / "a.png", str(tmp_path / "a.png"), encoded(image), array, tensor):
        assert torch.equal(RGB(same), wanted)
    for several in (
        [image, array],
        (array, tensor),
        np.stack([array] * 2),
        tensor.expand(2, -1, -1, -1),
    ):
        assert torch.equal(RGB(several), wanted.expand(2, -1, -1, -1))
    assert torch.equal(RGB.normalise(RGB.pixels(array)), wanted)


@pytest.mark.parametrize("preprocess", [RGB, GREY])
def test_grey_is_made_rgb_and_rgb_grey_by_the_channels_of_the_card(preprocess):
    colours, grey = photograph((80, 60)), photograph((80, 60), mode="L")
    num = len(preprocess.mean)
    for image in (colours, grey, np.asarray(grey)[..., None], np.asarray(grey.convert("LA"))):
        assert preprocess(image).shape == (1, num, 48, 48)
    assert torch.equal(preprocess(np.asarray(grey)), preprocess(grey))
    assert torch.equal(preprocess(np.asarray(grey)), preprocess(np.asarray(grey)[..., None]))


def test_images_of_more_than_8_bits_are_scaled_and_not_clipped():
    as_file = GREY(encoded(Image.fromarray(DEEP)))
    for same in (DEEP, DEEP[..., None], DEEP.astype(np.int32), DEEP.astype(np.int16)):
        assert torch.equal(GREY(same), as_file)
    scaled = Preprocess((48, 48), (0.5,), (0.25,), reading=Reading(black=0, white=1))
    assert torch.equal(scaled(DEEP.astype(np.float32) / 65535), as_file)


def test_what_the_orientation_says_is_done_to_a_pillow_image_as_to_its_file():
    image = Image.open(io.BytesIO(turned(6)))
    upright = Image.open(io.BytesIO(turned(1))).transpose(Image.Transpose.ROTATE_270)
    assert torch.equal(RGB(image), RGB(upright))


FLOATS = torch.zeros(3, 60, 60)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ([], "there is no image"),
        (7, "images are a int; allowed are a path"),
        ({"image": 1}, "images are a dict"),
        ([encoded(photograph()), None], r"images\[1\]: a NoneType; allowed"),
        ([["a.jpg"]], r"images\[0\]: a list; allowed"),
        (b"no image", r"images\[0\]: UnidentifiedImageError: cannot identify image file"),
        (FILES["large.jpg"][:2000], r"images\[0\]: OSError: image file is truncated"),
        ("no.jpg", r"images\[0\] 'no.jpg': cannot be read: No such file"),
        (FLOATS, r"images\[0\]: a tensor float32 \(3, 60, 60\); allowed is uint8"),
        (FLOATS.byte()[0], r"images\[0\]: a tensor uint8 \(60, 60\); allowed is uint8"),
        (FLOATS.byte().numpy(), r"images\[0\]: an array uint8 \(3, 60, 60\); allowed are uint8"),
        (np.zeros((9, 9, 3)), r"an array float64 \(9, 9, 3\); allowed"),
        (np.zeros((9, 9, 3), np.uint16), r"an array uint16 \(9, 9, 3\); allowed"),
        (np.zeros((0, 9), np.uint8), r"an array uint8 \(0, 9\); allowed"),
        (np.zeros((9, 9), np.float32), "fractions, with no number agreed for white; set white"),
    ],
)
def test_what_is_no_image_is_one_clear_line(images, told):
    with pytest.raises(UserError, match=told) as caught:
        RGB(images)
    assert "\n" not in str(caught.value)


def test_a_size_that_is_no_square_is_cut_out_of_the_middle():
    found = Preprocess((48, 64), MEAN, STD, crop_pct=1.0)
    image = Image.fromarray(
        np.arange(48 * 80 * 3, dtype=np.uint32).astype(np.uint8).reshape(48, 80, 3)
    )
    wanted = np.asarray(image)[:, 8:72].transpose(2, 0, 1)
    np.testing.assert_array_equal(found.pixels(image)[0].numpy(), wanted)
