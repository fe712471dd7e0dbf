import pytest

from ssl_swin.data.pixels.img_size import MOST_PX, require_img_size
from ssl_swin.errors import UserError


@pytest.mark.parametrize("size", [1, MOST_PX, (1, MOST_PX), (MOST_PX, 32)])
def test_what_a_machine_can_hold_is_allowed(size):
    require_img_size("img_size", size)


@pytest.mark.parametrize("size", [0, -1, MOST_PX + 1, (0, 32), (32, MOST_PX + 1)])
def test_no_pixel_and_too_many_are_refused_under_the_setting_s_name(size):
    with pytest.raises(UserError) as caught:
        require_img_size("model.img_size", size)
    assert str(caught.value) == f"model.img_size={size} must be from 1 to 16384 pixels to a side"
