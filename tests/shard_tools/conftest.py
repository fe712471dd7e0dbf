import pytest

from tests.data.shards.tars import image_bytes, write_tar


@pytest.fixture
def folder(tmp_path):
    for shard in range(2):
        members = []
        for place in range(4 + shard):
            size = (10 + place, 20 * (1 + shard))
            members.append((f"s{shard}/{place}.png", image_bytes(place, size=size)))
            members.append((f"s{shard}/{place}.cls", b"%d" % (place % 2)))
        write_tar(tmp_path / f"train-{shard:06d}.tar", members)
    return tmp_path
