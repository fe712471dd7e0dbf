import numpy as np
import pytest
import torch

from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.order.lanes import Share
from ssl_swin.training.datamodule import StreamModule
from ssl_swin.training.fixed_images import FixedImages
from ssl_swin.training.trainer import Hardware, make_trainer
from tests.training.tiny import learner

BROKEN, PLACE = 5, np.array([0, 3, 5, 8, 12, 13, 16])


@pytest.fixture(scope="module")
def stream(tiny_shards):
    return ImageStream(str(tiny_shards([9, 8], broken={BROKEN})), img_size=16, in_chans=1)


@pytest.fixture
def trainer(stream):
    made = make_trainer(Hardware("cpu"), [], [])
    datamodule = StreamModule(stream, None, None, (0, 0), num_workers=0)
    datamodule.trainer, made.datamodule = made, datamodule
    return made


def go_on():
    pass


@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
def test_features_are_in_the_order_of_the_images_and_name_those_that_are_missing(
    stream, trainer, batch_size
):
    images, module = FixedImages(stream, PLACE, batch_size), learner().eval()
    images.read(trainer, go_on)
    with torch.no_grad():
        found, known = images.features(trainer, module, go_on)
        plain = module.features_of_stages(stream.read(Share(0, PLACE))["image"])
    assert known.tolist() == [place != BROKEN for place in PLACE]
    assert [*found] == ["stage1", "stage2", "last"]
    for name, of_stage in found.items():
        assert of_stage.dtype == torch.float64
        torch.testing.assert_close(of_stage[known], plain[name][known])
        assert not of_stage[~known].any()


def test_images_are_read_once(stream, trainer, monkeypatch):
    images, read = FixedImages(stream, PLACE, 3), []
    plain = ImageStream.__getitems__
    monkeypatch.setattr(
        ImageStream, "__getitems__", lambda *given: [read.append(1), plain(*given)][1]
    )
    for _ in range(2):
        images.read(trainer, go_on)
    assert len(read) == 3


def test_what_is_broken_off_is_read_again(stream, trainer):
    images, module = FixedImages(stream, PLACE, 3), learner().eval()
    looks = iter([None, None])

    def break_off():
        if next(looks, 0) == 0:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        images.read(trainer, break_off)
    images.read(trainer, go_on)
    with torch.no_grad():
        _, known = images.features(trainer, module, go_on)
    assert int(known.sum()) == len(PLACE) - 1


def test_images_none_of_which_can_be_decoded_are_no_images(trainer, stream):
    images, module = FixedImages(stream, np.array([BROKEN]), 3), learner().eval()
    images.read(trainer, go_on)
    with torch.no_grad():
        found, known = images.features(trainer, module, go_on)
    assert not known.any()
    assert {len(one) for one in found.values()} == {1}
