"""Shards that are small and wildly uneven, and runs on them that were never interrupted."""

from pathlib import Path

import pytest
import webdataset

from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.reader import ShardReader

SAMPLE = Path(__file__).parents[2] / "data" / "fashion-mnist-sample"


def write_shards(folder: Path, counts: list[int]) -> Path:
    """Write labelled images of the shipped sample into shards of these sizes."""
    source = open_shards(str(SAMPLE / "test-{000000..000001}.tar"))
    reader, place = ShardReader(source), 0
    folder.mkdir(parents=True, exist_ok=True)
    for number, count in enumerate(counts):
        with webdataset.TarWriter(str(folder / f"part-{number:06d}.tar")) as tar:
            for _ in range(count):
                shard, row = (int(value) for value in source.locate(place))
                image, label = reader.read(shard, row), reader.label(shard, row)
                tar.write({"__key__": f"{place:06d}", "png": image, "cls": label})
                place += 1
    return folder


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"), [3, 100, 41, 1, 58])
