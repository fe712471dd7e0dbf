import gzip
import importlib.util
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.reader import ShardReader

DATA = Path(__file__).parents[1] / "data"
SAMPLE = DATA / "fashion-mnist-sample"


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("fashion_mnist", DATA / "fashion_mnist.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(part):
    shards = open_shards(str(SAMPLE / f"{part}-*.tar"), index_missing=False)
    reader = ShardReader(shards)
    for shard, row in zip(*shards.locate(np.arange(shards.num_samples)), strict=True):
        kind = shards.storage.rows(shard)[row]["label_kind"]
        yield reader.read(shard, row), reader.label(shard, row) if kind else None


def test_the_sample_has_the_promised_counts_and_no_image_twice():
    seen = set()
    for part, num, per_class in (
        ("pretrain", 10000, None),
        ("train", 1000, 100),
        ("test", 2000, 200),
    ):
        labels = Counter()
        for data, label in read(part):
            image = Image.open(io.BytesIO(data))
            assert (image.size, image.mode) == ((28, 28), "L")
            seen.add(image.tobytes())
            labels[label] += 1
        expected = {None: num} if per_class is None else dict.fromkeys(range(10), per_class)
        assert labels == expected
    assert len(seen) == 13000


def test_the_sample_stays_small_and_carries_its_licence():
    assert sum(path.stat().st_size for path in SAMPLE.iterdir()) < 30 * 2**20
    assert "Copyright (c) 2017 Zalando SE" in (SAMPLE / "LICENSE").read_text()


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return gzip.compress(head + array.astype(np.uint8).tobytes())


@pytest.fixture
def source(tmp_path):
    draw = np.random.default_rng(0)
    for origin in ("train", "t10k"):
        images = draw.integers(0, 256, (400, 28, 28), dtype=np.uint8)
        images[200:230] = images[:30]  # the same pixels twice
        (tmp_path / f"{origin}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (tmp_path / f"{origin}-labels-idx1-ubyte.gz").write_bytes(idx(np.arange(400) % 10))
    return tmp_path


def test_the_recipe_draws_the_same_different_images_again(recipe, source, tmp_path, monkeypatch):
    parts = (
        recipe.Part("train", "train", (30, 20), labelled=True),
        recipe.Part("test", "t10k", (40,), labelled=True),
        recipe.Part("pretrain", "train", (200, 100), labelled=False),
    )
    monkeypatch.setattr(recipe, "PARTS", parts)
    contents = []
    for out in (tmp_path / "a", tmp_path / "b"):
        recipe.make_sample(source, out, seed=3)
        contents.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert contents[0] == contents[1]
    shards = open_shards(str(tmp_path / "a"))
    assert shards.counts.tolist() == [200, 100, 40, 30, 20]
    reader = ShardReader(shards)
    places = zip(*shards.locate(np.arange(shards.num_samples)), strict=True)
    assert len({reader.read(s, r) for s, r in places}) == 390
    labels = Counter(reader.label(s, r) for s in (3, 4) for r in range(shards.counts[s]))
    assert labels == dict.fromkeys(range(10), 5)


def test_too_few_different_images_are_refused(recipe, source):
    images = recipe.read_idx(source / "train-images-idx3-ubyte.gz")
    labels = recipe.read_idx(source / "train-labels-idx1-ubyte.gz")
    part = recipe.Part("pretrain", "train", (371,), labelled=False)
    with pytest.raises(ValueError, match="pretrain needs 371 different images, the set has 370"):
        recipe.draw(images, labels, part, 0, set())


def test_other_files_are_refused(recipe, tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"text"))
    with pytest.raises(ValueError, match=r"a\.gz is not an IDX file"):
        recipe.read_idx(tmp_path / "a.gz")
