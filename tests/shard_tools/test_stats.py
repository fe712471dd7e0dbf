import json

import numpy as np
import pytest
import webdataset

from ssl_swin.__main__ import run
from ssl_swin.config.data import DataConfig
from ssl_swin.data.open import open_shards
from ssl_swin.data.pixels.decode import Bands, Reading
from ssl_swin.errors import UserError
from ssl_swin.shard_tools.stats import measure
from tests.data.pixels.test_array_files import npy
from tests.data.shards.tars import image_bytes, write_tar

NUM, CHANS = 30, 5


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("tiles")
    images = rng.normal(1e6, 3, (NUM, 12, 9, CHANS)) * np.arange(1, CHANS + 1)
    images = images.astype(np.float32)
    images[:, :2, :2, 1], images[3] = np.nan, np.inf
    with webdataset.TarWriter(str(folder / "a.tar")) as tar:
        for place, image in enumerate(images):
            tar.write({"__key__": f"{place:03d}", "npy": npy(image)})
    return images, folder


def test_mean_and_deviation_are_those_of_numpy_over_all_that_are_some(tiles, tmp_path, capsys):
    images, folder = tiles
    path = tmp_path / "stats.json"
    assert run(["shards", "info", str(folder), "--stats", str(path)]) == 0
    found = json.loads(path.read_text())
    told = capsys.readouterr().out
    assert "measured 30 of 30 images, channels: 5" in told
    assert f"--data.stats {path}" in told
    numbers = np.where(np.isfinite(images), images, np.nan).astype(np.float64).reshape(-1, CHANS)
    np.testing.assert_allclose(found["mean"], np.nanmean(numbers, axis=0), rtol=1e-12)
    np.testing.assert_allclose(found["std"], np.nanstd(numbers, axis=0), rtol=1e-9)
    assert found["min"] == np.nanmin(numbers, axis=0).tolist()
    assert found["num_values"] == np.isfinite(numbers).sum(axis=0).tolist()
    assert (found["dtype"], found["num_images"]) == ("float32", NUM)


def test_any_number_of_threads_finds_the_same_bits(tiles):
    _, folder = tiles
    given = open_shards(folder), np.arange(NUM), Reading(bands=Bands("float32")), CHANS
    (one, _), *others = (measure(*given, threads) for threads in (1, 2, 7))
    for other, _ in others:
        assert other.mean.tobytes() == one.mean.tobytes()
        assert other.std.tobytes() == one.std.tobytes()


def test_a_config_takes_what_was_measured_of_the_channels_it_takes(tiles, tmp_path):
    _, folder = tiles
    path = tmp_path / "stats.json"
    assert run(["shards", "info", str(folder), "--stats", str(path), "--nodata=-9"]) == 0
    found = json.loads(path.read_text())
    config = DataConfig(str(folder), stats=str(path), channels=(4, 1))
    assert config.mean == (found["mean"][4], found["mean"][1])
    assert (config.std[0], config.dtype, config.nodata) == (found["std"][4], "float32", -9.0)
    given = DataConfig(str(folder), stats=str(path), mean=(1.0,), std=(2.0,), dtype="float32")
    assert given.mean == (1.0,)


def test_channels_are_measured_and_taken_by_their_names(tiles, tmp_path, capsys):
    _, folder = tiles
    path, names = tmp_path / "stats.json", ("a", "b", "c", "d", "e")
    beside = folder / "channels.json"
    beside.write_text(json.dumps(names))
    try:
        assert run(["shards", "info", str(folder), "--stats", str(path)]) == 0
        told = capsys.readouterr().out
        beside.write_text('["a", "b"]')
        assert run(["shards", "info", str(folder), "--stats", str(path)]) == 2
        assert "have 5 channels, and channels.json names 2" in capsys.readouterr().err
    finally:
        beside.unlink()
    assert "5 channels" in told
    assert "a, b, c, d, e" in told
    assert "\n  e  mean 5" in told
    found = json.loads(path.read_text())
    assert found["channels"] == [*names]
    config = DataConfig("x", stats=str(path), channels=("e", "b"))
    assert (config.mean, config.channels) == ((found["mean"][4], found["mean"][1]), ("e", "b"))
    assert DataConfig("x", stats=str(path), channels=(4, 1)) == config
    assert DataConfig("x", stats=str(path)).channels == names
    with pytest.raises(UserError, match=r"asks for 'f'; the channels of data\.stats="):
        DataConfig("x", stats=str(path), channels=("f",))


def test_colours_are_measured_in_shares_of_white(tmp_path):
    write_tar(tmp_path / "a.tar", [(f"{i}.png", image_bytes(i)) for i in range(8)])
    path = tmp_path / "stats.json"
    assert run(["shards", "info", str(tmp_path), "--stats", str(path), "--sample=4"]) == 0
    found = json.loads(path.read_text())
    assert "dtype" not in found
    assert found["num_images"] == 4
    assert all(0 < one < 1 for one in found["mean"] + found["std"])
    assert DataConfig("x", stats=str(path)).mean == tuple(found["mean"])


@pytest.mark.parametrize(
    ("text", "channels", "said"),
    [
        (None, None, "no such file"),
        ("{", None, "is not what ssl-swin shards info --stats writes"),
        ('{"mean": [1]}', None, "is not what"),
        ('{"mean": [1], "std": [1], "channels": ["a", "b"]}', None, "2 channels and 1 means"),
        (
            '{"mean": [1], "std": [1]}',
            ("nir",),
            "no channels.json names the channels of d",
        ),
        ('{"mean": [1], "std": [1], "dtype": "uint8"}', (0, 3), "has 1 channels, counted from 0"),
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path, text, channels, said):
    path = tmp_path / "stats.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError) as caught:
        DataConfig("x", stats=str(path), channels=channels)
    assert said in str(caught.value).lower() or said in str(caught.value)


def test_several_sets_have_no_one_measure(tmp_path, capsys):
    for name in ("train", "val"):
        (tmp_path / name).mkdir()
        write_tar(tmp_path / name / "a.tar", [("0.png", image_bytes(0))])
    assert run(["shards", "info", str(tmp_path), "--stats", str(tmp_path / "s.json")]) == 2
    assert "--stats is of one set" in capsys.readouterr().err
    assert not (tmp_path / "s.json").exists()
