import os

import pytest

from ssl_swin.errors import UserError
from ssl_swin.shard_tools.parallel import each


def square_and_process(number):
    return number**2, os.getpid()


def fail(number):
    raise OSError(f"disk {number}")


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
