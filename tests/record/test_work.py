import pytest

from ssl_swin.record.work import Smaller, share_at, work_of

GROWS = [Smaller(10, 0.25), Smaller(30, 0.5)]


@pytest.mark.parametrize(("step", "work"), [(0, 0), (4, 1), (10, 2.5), (20, 7.5), (40, 22.5)])
def test_steps_of_small_images_take_less(step, work):
    assert work_of(step, GROWS) == work
    assert work_of(step, []) == step


def test_the_share_is_that_of_the_step_to_come():
    assert [share_at(step, GROWS) for step in (0, 9, 10, 29, 30)] == [0.25, 0.25, 0.5, 0.5, 1]
