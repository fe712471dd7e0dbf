import resource

import pytest

from ssl_swin.data.shards.open_files import allow_open


@pytest.fixture
def limit():
    """Sets this process's soft limit of open files; it is put back afterwards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def set_soft(soft, hard=before[1]):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    yield set_soft
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_soft_limit_is_raised_where_files_need_it_and_only_then(limit):
    limit(400)
    assert allow_open(144) == 144
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 400
    assert allow_open(145) == 145
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 401


def test_the_hard_limit_is_kept_and_half_of_a_small_one_is_left_to_others(monkeypatch):
    limits, asked = [100, 100], []
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: asked.append(pair))
    assert allow_open(1000) == 50
    assert asked == [(100, 100)]
    limits[:] = 1024, 4096
    assert allow_open(10_000) == 1024 - 256  # a system that allows less than it says
    limits[:] = resource.RLIM_INFINITY, resource.RLIM_INFINITY
    assert allow_open(10_000) == 10_000
