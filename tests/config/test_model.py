import pytest

from ssl_swin.config.model import MaskConfig, ModelConfig, ProgressiveConfig, TargetConfig
from ssl_swin.errors import UserError


@pytest.mark.parametrize("rate", [1.0, -0.1])
def test_a_drop_path_rate_that_cannot_be_is_refused(rate):
    with pytest.raises(UserError, match=f"model.drop_path_rate={rate} must lie in"):
        ModelConfig(drop_path_rate=rate)


def test_masks_and_targets_are_by_default_those_of_the_paper():
    assert MaskConfig() == MaskConfig("random", 32, 0.6)
    assert TargetConfig() == TargetConfig("pixels", 47)


@pytest.mark.parametrize("size", [0, (-32, 32), (32, 0)])
def test_an_image_without_pixels_is_refused(size):
    with pytest.raises(UserError, match=r"model\.img_size=.* must be from 1 to 16384 pixels"):
        ModelConfig(img_size=size)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda size: ModelConfig(img_size=size), "model.img_size"),
        (lambda size: ProgressiveConfig(1, size), "progressive.img_size"),
        (lambda size: TargetConfig("teacher", teacher_img_size=size), "target.teacher_img_size"),
    ],
)
@pytest.mark.parametrize("size", [0, 100_000])
def test_every_size_of_images_has_bounds(make, name, size):
    with pytest.raises(UserError, match=f"^{name}={size} must be from 1 to 16384 pixels"):
        make(size)


def test_an_empty_teacher_is_refused():
    with pytest.raises(UserError, match=r"target\.teacher='' is empty"):
        TargetConfig("teacher", teacher="")


def test_how_much_is_hidden_and_by_what_goes_with_masks_that_hide():
    assert MaskConfig("none").mask_ratio == 0.6
    with pytest.raises(UserError, match=r"mask\.mask_ratio=0\.5 beside mask\.kind=none"):
        MaskConfig("none", mask_ratio=0.5)
    with pytest.raises(UserError, match=r"mask\.token=pixels beside mask\.kind=none, which hides"):
        MaskConfig("none", token="pixels")


def test_the_start_of_no_stage_is_refused():
    assert TargetConfig(teacher_stage=4, teacher_at="start").teacher_stage == 4
    with pytest.raises(UserError, match=r"give target\.teacher_stage, or leave it out"):
        TargetConfig(teacher_at="start")
    with pytest.raises(UserError, match=r"target\.teacher_stage=0 must be greater than 0"):
        TargetConfig(teacher_stage=0)
