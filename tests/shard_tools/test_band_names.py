import json

import numpy as np
import pytest

from ssl_swin.__main__ import run
from ssl_swin.shard_tools.band_names import band_names
from tests.data.pixels.test_array_files import npy, numbers, tiff


def described(*names, chans=None, more="", **options):
    """A TIFF whose bands are described as GDAL does it."""
    items = "".join(
        f'<Item name="DESCRIPTION" sample="{place}" role="description">{name}</Item>\n'
        for place, name in enumerate(names)
        if name is not None
    )
    text = f"<GDALMetadata>\n{items}{more}</GDALMetadata>"
    array = numbers((20, 30, len(names) if chans is None else chans), "uint16")
    options = {"photometric": "minisblack", "planarconfig": "contig"} | options
    return tiff(array, extratags=[(42112, "s", 0, text, True)], **options)


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (described("blue", "near &amp; far", "B8A"), ("blue", "near & far", "B8A")),
        (described("a", "b", more='<Item name="x" sample="1">c</Item>'), ("a", "b")),
        (described("a", "b", chans=3), None),
        (described("a", None, "c"), None),
        (described("a", "a"), None),
        (described("1", "2"), None),
        (described("a,b", "c"), None),
        (tiff(numbers((20, 30, 2), "uint16"), photometric="minisblack"), None),
        (npy(np.zeros((2, 3), np.uint8)), None),
        (b"II*\0 no more", None),
    ],
)
def test_names_are_those_of_all_bands_or_none(data, names):
    assert band_names(data) == names


def test_files_that_agree_name_the_channels_of_a_set(tmp_path, capsys):
    (tmp_path / "tiles").mkdir()
    for place in range(3):
        (tmp_path / "tiles" / f"{place}.tif").write_bytes(described("red", "nir"))
    words = ["shards", "create", str(tmp_path / "tiles"), "--num-workers=1"]
    for _ in range(2):
        assert run([*words[:3], str(tmp_path / "out"), words[3]]) == 0
        assert "channels, as the files name them: red, nir" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "channels.json").read_text()) == ["red", "nir"]
    (tmp_path / "tiles" / "3.tif").write_bytes(described("nir", "red"))
    assert run([*words[:3], str(tmp_path / "other"), words[3]]) == 0
    assert not (tmp_path / "other" / "channels.json").exists()


def test_names_that_are_not_as_many_as_channels_leave_files_out(tmp_path, capsys):
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles" / "0.npy").write_bytes(npy(numbers((20, 30, 6), "uint16")))
    words = ["shards", "create", str(tmp_path / "tiles"), str(tmp_path / "out"), "--num-workers=1"]
    assert run([*words, "--channel-names=a,b"]) == 2
    assert "it has 6 channels, and --channel-names names 2" in capsys.readouterr().out
    assert run([*words[:3], str(tmp_path / "no"), "--channel-names=a,,b"]) == 2
    assert "'' is no name; give names with commas between them" in capsys.readouterr().err
