"""`shards create --split`: sets of one source, each a whole folder of shards."""

import numpy as np
import pytest

from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.classes import names_of
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.errors import UserError
from ssl_swin.shard_tools.assign import PackOptions
from ssl_swin.shard_tools.create import create
from ssl_swin.shard_tools.select import Selection
from tests.data.shards.tars import image_bytes

OPTIONS, VAL = PackOptions(samples_per_shard=3), Selection(split="val=0.1")


@pytest.fixture
def photos(tmp_path):
    """20 cats and 10 dogs."""
    for number in range(30):
        path = tmp_path / "photos" / ("cat" if number < 20 else "dog") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_bytes(number))
    return tmp_path / "photos"


def content(out):
    return {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_each_set_is_a_whole_folder_of_shards(photos, tmp_path, capsys):
    create(photos, tmp_path / "out", OPTIONS, 1, selection=Selection(split="val=0.1,test=0.2"))
    images = []
    for name, counts in {"train": [14, 7], "val": [2, 1], "test": [4, 2]}.items():
        shards = open_shards(str(tmp_path / "out" / name), index_missing=False)
        assert names_of(shards) == ("cat", "dog")
        reader = ShardReader(shards)
        places = list(zip(*shards.locate(np.arange(shards.num_samples)), strict=True))
        images += [reader.read(*place) for place in places]
        assert np.bincount([reader.label(*place) for place in places]).tolist() == counts
        assert {path.name[:-11] for path in shards.storage.paths} == {name}
    assert sorted(images) == sorted(path.read_bytes() for path in photos.rglob("*.png"))
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines()]
    assert ["class", "train", "val", "test", "images"] in rows
    assert ["cat", "14", "2", "4", "20"] in rows
    assert f"{tmp_path}/out/val: 3 images (10.0%) in 1 shard, " in printed
    assert printed.endswith(f"next: ssl-swin recipe {tmp_path}/out -o my.yaml\n")


def test_without_a_split_the_shards_are_those_that_a_set_alone_has(photos, tmp_path):
    create(photos, tmp_path / "alone", OPTIONS, 1)
    assert not list((tmp_path / "alone").glob("*/"))
    create(photos, tmp_path / "named", PackOptions("mine", 3), 1, selection=VAL)
    assert sorted(path.name for path in tmp_path.glob("named/val/*.tar")) == ["mine-val-000000.tar"]


@pytest.mark.parametrize("stop", [0, 3, 10])
def test_a_stopped_split_goes_on_and_ends_with_the_same_bytes(
    photos, tmp_path, stopped_after, stop
):
    (photos / "cat" / "torn.png").write_bytes(image_bytes(99)[:50])
    options = {"num_workers": 1, "max_bad_share": 0.2, "selection": Selection(split="val=0.3")}
    create(photos, tmp_path / "straight", OPTIONS, **options)
    with stopped_after(stop):
        create(photos, tmp_path / "out", OPTIONS, **options)
    assert len(list(tmp_path.glob("out/*/*.tar"))) == stop
    create(photos, tmp_path / "out", OPTIONS, **options)
    assert content(tmp_path / "out") == content(tmp_path / "straight")


def test_another_split_is_refused_in_the_same_folder(photos, tmp_path):
    create(photos, tmp_path / "out", OPTIONS, 1, selection=VAL)
    create(photos, tmp_path / "alone", OPTIONS, 1)
    before = content(tmp_path)
    with pytest.raises(UserError, match=r"begun with split='val=0\.1', now it is 'val=0\.2'"):
        create(photos, tmp_path / "out", OPTIONS, 1, selection=Selection(split="val=0.2"))
    with pytest.raises(UserError, match=r"begun with split='val=0\.1', now it is None"):
        create(photos, tmp_path / "out", OPTIONS, 1)
    with pytest.raises(UserError, match=r"begun with split=None, now it is 'val=0\.1'"):
        create(photos, tmp_path / "alone", OPTIONS, 1, selection=VAL)
    with pytest.raises(UserError, match="begun with seed=0, now it is 1"):
        create(
            photos,
            tmp_path / "out",
            PackOptions("train", 3, seed=1),
            1,
            selection=VAL,
        )
    (photos / "cat" / "0.png").write_bytes(image_bytes(0, size=(9, 9)))
    with pytest.raises(UserError, match="other files: one was added, removed, renamed"):
        create(photos, tmp_path / "out", OPTIONS, 1, selection=VAL)
    (photos / "cat" / "0.png").write_bytes(before[photos.relative_to(tmp_path) / "cat" / "0.png"])
    assert content(tmp_path) == before
