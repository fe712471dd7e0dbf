import os

import pytest

from ssl_swin.errors import UserError
from ssl_swin.shard_tools.parallel import count_image, each


def square_and_process(number):
    return number**2, os.getpid()


def fail(number):
    raise OSError(f"disk {number}")


def count_to(number):
    for _ in range(number):
        count_image()


def count_on_and_on(place):
    if place.exists():
        raise OSError("the second one")
    place.touch()
    while True:
        count_image()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_what_jobs_count_is_told(num_workers):
    told = []
    list(each(count_to, [3, 0, 4], num_workers, told.append))
    assert sum(told) == 7
    count_image()  # of no job: nobody is told
    assert sum(told) == 7


def test_after_an_error_other_jobs_end_soon(tmp_path):
    with pytest.raises(OSError, match="the second one"):
        list(each(count_on_and_on, [tmp_path / "begun"] * 2, 2))


@pytest.mark.parametrize("num_workers", [1, 2, 9])
@pytest.mark.parametrize("num_jobs", [0, 1, 3])
def test_every_job_is_done_once(num_workers, num_jobs):
    done = dict(each(square_and_process, range(num_jobs), num_workers))
    assert {job: square for job, (square, _) in done.items()} == {n: n**2 for n in range(num_jobs)}
    here = {process for _, process in done.values()} == {os.getpid()}
    assert here == (num_jobs > 0 and min(num_workers, num_jobs) == 1)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_an_error_in_a_job_comes_out(num_workers):
    with pytest.raises(OSError, match="disk"):
        list(each(fail, range(3), num_workers))


def test_somebody_must_work():
    with pytest.raises(UserError, match="num_workers=0"):
        list(each(fail, [], 0))
