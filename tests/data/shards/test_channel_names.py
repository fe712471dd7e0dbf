import json
import shutil

import pytest

from ssl_swin.data.open import join, open_shards
from ssl_swin.data.shards.channel_names import (
    channel_names_of,
    parse_channel_names,
    require_as_many,
)
from ssl_swin.errors import ShardError
from tests.data.shards.tars import image_bytes, write_tar


@pytest.fixture
def two(tmp_path):
    """Two folders of a tar each."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_tar(tmp_path / name / f"{name}.tar", [("0.png", image_bytes(0))])
    return tmp_path / "a", tmp_path / "b"


def test_they_are_beside_the_tars_or_not_there(two):
    one = two[0]
    assert channel_names_of(open_shards(one)) is None
    (one / "channels.json").write_text(json.dumps(["red", "nir"]))
    assert channel_names_of(open_shards(one)) == ("red", "nir")


def test_sets_of_one_run_have_one_order(two):
    one, other = two
    sets = join([open_shards(one), open_shards(other)])
    (one / "channels.json").write_text(json.dumps(["red", "nir"]))
    assert channel_names_of(sets) == ("red", "nir")
    shutil.copy(one / "channels.json", other)
    assert channel_names_of(sets) == ("red", "nir")
    (other / "channels.json").write_text(json.dumps(["nir", "red"]))
    with pytest.raises(ShardError, match="are beside the tars of one set, and differ"):
        channel_names_of(sets)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is no list of names of channels"),
        (b"[]", "is no list of names"),
        (b'{"red": 0}', "is no list of names"),
        (b'["red", 3]', "3 is no name"),
        (b'["red", "red"]', "'red' is there twice"),
        (b"[" * 100_000, "is no list of names"),
    ],
)
def test_a_file_that_says_something_else_is_refused(content, said):
    with pytest.raises(ShardError) as caught:
        parse_channel_names(content, "there/channels.json")
    assert said in str(caught.value)
    assert str(caught.value).startswith("there/channels.json")


def test_there_are_as_many_as_channels():
    require_as_many(None, 3, "a.tar")
    require_as_many(("a", "b", "c"), 3, "a.tar")
    with pytest.raises(ShardError, match=r"have 4 channels, and channels\.json names 3"):
        require_as_many(("a", "b", "c"), 4, "a.tar")
