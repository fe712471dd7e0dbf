import io

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image

from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.open import open_shards
from ssl_swin.data.order.lanes import Share
from ssl_swin.data.pixels.decode import Reading
from ssl_swin.data.pixels.transforms import EvaluationTransform
from ssl_swin.errors import UserError
from ssl_swin.evaluation.images import open_images
from ssl_swin.evaluation.pixels import PixelStream
from ssl_swin.pretrained.classifier import ClassifierCard
from tests.conftest import png


def card(in_chans=3, **change):
    half = (0.5,) * in_chans
    return ClassifierCard({}, ("a", "b"), half, half, 32, **change)


def jpeg(seed, size):
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png(seed, size, "RGB"))).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.fixture
def both_ways(tmp_path):
    """The same images as files and in a shard: JPEGs of many shapes, a PNG, a broken one."""
    data = {f"{n}.jpg": jpeg(n, (50 + 17 * n, 90 - 9 * n)) for n in range(6)}
    data |= {"6.png": png(6, (64, 40)), "7.jpg": b"\xff\xd8 no image"}
    (tmp_path / "files").mkdir()
    (tmp_path / "shards").mkdir()
    with webdataset.TarWriter(str(tmp_path / "shards" / "a.tar")) as tar:
        for name, content in data.items():
            (tmp_path / "files" / name).write_bytes(content)
            key, extension = name.split(".")
            tar.write({"__key__": key, extension: content})
    return tmp_path / "files", tmp_path / "shards"


@pytest.mark.parametrize("in_chans", [1, 3])
@pytest.mark.parametrize("change", [{}, {"decoder": "pil"}, {"crop_pct": 1.0}])
def test_pixels_are_those_of_a_run_whether_from_a_file_or_a_shard(both_ways, in_chans, change):
    share, known = Share(0, np.arange(8)), card(in_chans, **change)
    batches = [
        PixelStream(open_images([str(one)])[0], known).__getitems__(share) for one in both_ways
    ]
    transform = EvaluationTransform(32, known.crop_pct)
    reading = Reading(known.decoder)
    stream = ImageStream(open_shards(str(both_ways[1])), transform, 32, in_chans, None, reading)
    expected = stream.__getitems__(Share(0, np.arange(7)))["image"]
    for batch in batches:
        assert (batch["image"].shape, batch["image"].dtype) == ((8, in_chans, 32, 32), torch.uint8)
        assert torch.equal(batch["image"][:7], expected)
        assert not batch["image"][7].any()
        assert batch["broken"].tolist() == [False] * 7 + [True]
        assert batch["index"].tolist() == list(range(8))


def test_what_is_broken_is_explained(both_ways):
    stream = PixelStream(open_images([str(both_ways[0])])[0], card(max_pixels=50 * 90 - 1))
    assert "4500" in stream.why_broken(0) or "max_pixels=4499" in stream.why_broken(0)
    assert "UnidentifiedImageError" in stream.why_broken(7)
    assert stream.why_broken(6) == "it can be decoded now"


def test_where_no_image_can_be_decoded_the_network_s_channels_and_the_cause_are_told(both_ways):
    stream = PixelStream(open_images([str(both_ways[0])])[0], card(5, dtype="uint8"))
    with pytest.raises(UserError) as caught:
        stream.refuse("data=x: ")
    assert str(caught.value) == (
        "data=x: none of the 8 images can be decoded as 5 channels of uint8, which the network "
        "takes; of the first: it has 3 channels, and data.mean 5; data.channels chooses some; give "
        "others"
    )
