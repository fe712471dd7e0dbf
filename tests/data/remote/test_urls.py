import pytest

from ssl_swin.data.remote.urls import beside, name_of, shown
from ssl_swin.errors import ShardError


@pytest.mark.parametrize(
    "url",
    [
        "http://h/a/..%2f..%2fx.tar",
        "http://h/a/%2e%2e",
        "http://h/a/.hidden.tar",
        "http://h/a/x%00.tar",
        "s3://b/a/..",
        "s3://b/x.npy",
    ],
)
def test_names_that_could_lead_out_of_the_cache_are_refused(url):
    with pytest.raises(ShardError, match="must end in the plain name of a tar"):
        name_of(url)


def test_urls_are_taken_apart():
    url = "https://user:pass@host:1/a/b%20c.tar?sig=1/2"
    assert (name_of(url), shown(url)) == ("b c.tar", "https://host:1/a/b%20c.tar")
    assert beside(url, "index.json") == "https://user:pass@host:1/a/index.json?sig=1/2"
    assert (name_of("s3://b/c?.tar"), beside("s3://b/c?.tar", "x")) == ("c?.tar", "s3://b/x")
