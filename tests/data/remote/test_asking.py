import pytest

from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.data.shards.retry import Retry
from ssl_swin.errors import RemoteError, ShardError
from tests.data.remote.faulty import cache_in, remote_set
from tests.data.remote.sets import THIRD


@pytest.mark.parametrize(
    ("fault", "tries", "message"),
    [
        (500, 5, "after 5 tries in a row: the server answers 500"),
        (("cut", 0), 5, "after 5 tries in a row: "),
        (("stall", 0), 5, "after 5 tries in a row: nothing came for too long"),
        (404, 0, f"{THIRD} does not exist"),
        (403, 0, f"{THIRD} may not be read; give credentials .* in the environment"),
        (400, 1, "after 1 try: the server answers 400"),
    ],
)
def test_what_is_final_is_said_after_few_tries(server, tmp_path, fault, tries, message):
    waits = []
    retry = Retry(5, 1.0, 3.0, 0.2, sleep=waits.append)
    cache = cache_in(tmp_path / "cache", retry=retry)
    shards = remote_set(f"{server.url}/train-{{000000..000003}}.tar?key=secret", cache)
    shards.storage.rows(2)
    server.faults[THIRD] = [fault]
    with pytest.raises(RemoteError, match=message) as error:
        ShardReader(shards).read(2, 0)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
    assert waits == ([1.0, 2.0, 3.0, 3.0] if tries == 5 else [])
    assert server.gets[THIRD] in (tries, tries + 1)  # fsspec asks by GET where HEAD is refused


def test_an_outage_of_two_minutes_is_waited_for(server, tmp_path):
    waits = []
    cache = cache_in(tmp_path / "cache", retry=Retry(sleep=waits.append))
    shards = remote_set(server.url, cache)
    server.faults[THIRD] = [503] * 9 + [None]
    assert ShardReader(shards).read(2, 0)
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert sum(waits) > 120


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("nonsense://a/b.tar", "nonsense://a/.*Protocol not known"),
        ("http://127.0.0.1:9/a.tar", "http://127.0.0.1:9/.* after 5 tries in a row: "),
    ],
)
def test_places_that_cannot_be_reached_are_named(tmp_path, pattern, message):
    with pytest.raises((RemoteError, ShardError), match=f"^{message}"):
        remote_set(pattern, cache_in(tmp_path))
