import pytest

from ssl_swin.errors import RemoteError
from tests.data.remote.sets import open_at


@pytest.mark.parametrize("pattern", ["/nothing/", "/val-*.tar", "/train-000001.tar.index.npy"])
def test_a_pattern_without_a_tar_is_refused_in_one_line(server, tmp_path, pattern):
    with pytest.raises(RemoteError, match=r"^shards=http\S+ matches no tar; [^\n]*$"):
        open_at(server, tmp_path, pattern)
