import numpy as np
import pytest
import torch

from ssl_swin.models.normalise import Normalisation


def test_each_channel_is_brought_to_its_mean_and_deviation():
    normalise = Normalisation((0.5, 0.2), (0.25, 0.1))
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 1, 3).expand(2, 2, 4, 3)
    found = normalise(images)
    assert found[0, 0, 0].tolist() == pytest.approx([-2.0, -1.2, 2.0])
    assert found[1, 1, 3].tolist() == pytest.approx([-2.0, 0.0, 8.0])


def test_undoing_gives_the_pixels_back_and_clips_what_is_no_pixel():
    normalise = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(normalise.undo(normalise(images)), images)
    assert normalise.undo(torch.full((1, 3, 1, 1), 1e3)).unique().tolist() == [255]
    assert normalise.undo(torch.full((1, 3, 1, 1), -1e3)).unique().tolist() == [0]


def test_images_have_the_precision_of_the_module_and_nothing_is_saved():
    normalise = Normalisation((0.5,), (0.5,)).double()
    assert normalise(torch.zeros(1, 1, 2, 2, dtype=torch.uint8)).dtype == torch.float64
    assert normalise.state_dict() == {}


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("float32", None), ("float16", -9999.0), ("uint16", 0.0), ("int16", -1.0)]
)
def test_numbers_as_they_are_become_the_mean_where_they_are_none(dtype, nodata):
    mean, std = (1000.0, 2000.0, 5.0, 7.0), (10.0, 20.0, 1.0, 2.0)
    rng = np.random.default_rng(0)
    values = rng.integers(1, 3000, (2, 4, 5, 6)).astype(dtype)
    values[0, 1, 2, 3] = np.nan if nodata is None else nodata
    normalise = Normalisation(mean, std, scale=1.0, nodata=nodata)
    images = torch.from_numpy(values)
    there = normalise.there(images)
    assert (~there).nonzero().tolist() == [[0, 1, 2, 3]]
    found = normalise(images)
    wanted = (values.astype(np.float32) - np.reshape(mean, (4, 1, 1))) / np.reshape(std, (4, 1, 1))
    np.testing.assert_allclose(found[there].numpy(), wanted[there.numpy()], rtol=1e-5, atol=1e-6)
    assert found[0, 1, 2, 3] == 0


def test_whole_numbers_without_a_nodata_are_all_some():
    images = torch.zeros(1, 1, 2, 2, dtype=torch.uint16)
    assert Normalisation((1.0,), (1.0,), scale=1.0).there(images) is None
    assert Normalisation((0.5,), (0.5,)).there(images.byte()) is None
