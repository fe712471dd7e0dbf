"""`shards create`: every image is packed as it is, and what is left out is said."""

import json
import tarfile

import numpy as np
import pytest
import webdataset
from PIL import Image

from ssl_swin.data.open import open_shards
from ssl_swin.data.pixels.bands import read_bands
from ssl_swin.data.pixels.decode import MAX_PIXELS, Bands
from ssl_swin.data.pixels.formats import decode
from ssl_swin.data.shards.left_out import PAGES
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.errors import ShardError, UserError
from ssl_swin.shard_tools.assign import PackOptions
from ssl_swin.shard_tools.create import create
from ssl_swin.shard_tools.info import info
from ssl_swin.shard_tools.verify import verify
from tests.data.pixels.pictures import encoded
from tests.data.pixels.test_array_files import npy, npz, numbers, tiff
from tests.data.shards.tars import image_bytes


def test_every_image_is_packed_once_as_it_was_with_its_class(source, packed_names, tmp_path):
    create(source, tmp_path / "out", PackOptions(samples_per_shard=4), num_workers=1)
    shards = open_shards(str(tmp_path / "out"), index_missing=False)
    reader = ShardReader(shards)
    places = list(zip(*shards.locate(np.arange(shards.num_samples)), strict=True))
    packed = [(reader.read(s, r), reader.label(s, r)) for s, r in places]
    classes = json.loads((tmp_path / "out" / "classes.json").read_text())
    expected = [((source / f).read_bytes(), classes.index(f.split("/")[0])) for f in packed_names]
    assert classes == ["cat", "dog", "eel"]
    assert sorted(packed) == sorted(expected)
    assert shards.counts.tolist() == [4, 4, 2]
    keys = [reader.key(s, r) for s, r in places]
    assert len({key.lower() for key in keys}) == len(keys)
    assert all(key.replace("_", "").replace("-", "").isalnum() and key.isascii() for key in keys)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves its files to be closed
def test_plain_webdataset_code_reads_the_shards(source, tmp_path):
    create(source, tmp_path / "out", PackOptions(samples_per_shard=3), num_workers=1)
    paths = sorted(map(str, (tmp_path / "out").glob("*.tar")))
    read = [
        (int(sample["cls"]), next(sample[kind] for kind in sample if kind in "png jpg webp tif"))
        for sample in webdataset.WebDataset(paths, shardshuffle=False)
    ]
    reader = ShardReader(open_shards(str(tmp_path / "out")))
    ours = [
        (reader.label(shard, row), reader.read(shard, row))
        for shard, count in enumerate(reader.shards.counts)
        for row in range(count)
    ]
    assert read == ours
    decoded = webdataset.WebDataset(paths, shardshuffle=False).decode("pil")
    pairs = list(decoded.to_tuple("png;jpg;webp;tif", "cls"))
    assert [label for _, label in pairs] == [label for label, _ in ours]
    assert {image.size for image, _ in pairs} == {(6, 4)}


def test_images_without_folders_are_packed_without_labels(source, tmp_path):
    create(source / "cat", tmp_path / "out", PackOptions(), num_workers=1)
    shards = open_shards(str(tmp_path / "out"))
    assert shards.storage.rows(0)["label_kind"].tolist() == [0] * 4
    assert not (tmp_path / "out" / "classes.json").exists()


def test_images_beside_class_folders_are_refused(source, tmp_path):
    (source / "stray.png").write_bytes(image_bytes(0))
    with pytest.raises(ShardError, match=r"1 images .* the first is 'stray\.png'"):
        create(source, tmp_path / "out", PackOptions())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ShardError, match="holds no image"):
        create(tmp_path / "empty", tmp_path / "out", PackOptions())
    with pytest.raises(UserError, match=r"nowhere is not there"):
        create(tmp_path / "nowhere", tmp_path / "out", PackOptions())


def test_unreadable_files_are_all_named_and_left_out(source, packed_names, tmp_path, capsys):
    whole = image_bytes(5, size=(40, 40))
    bad = {"cat/empty.png": b"", "dog/text.jpg": b"no image", "eel/cut.png": whole[:900]}
    bad["cat/[red]\ttab.png"] = whole[:400] + b"damage" + whole[406:]
    for name, data in bad.items():
        (source / name).write_bytes(data)
    options = {"options": PackOptions(samples_per_shard=3), "num_workers": 1}
    with pytest.raises(ShardError, match=r"max_bad_share allows 0; .*bad_files\.txt names them"):
        create(source, tmp_path / "out", **options)
    create(source, tmp_path / "out", max_bad_share=0.5, **options)
    lines = (tmp_path / "out" / "bad_files.txt").read_text().splitlines()
    named = ["cat/[red] tab.png", "cat/empty.png", "dog/text.jpg", "eel/cut.png"]
    assert [line.split("\t")[0] for line in lines] == named
    assert all(line.split("\t")[1] for line in lines)
    printed = capsys.readouterr().out
    assert all(f"left out: {name}" in printed for name in named)
    assert open_shards(str(tmp_path / "out")).num_samples == len(packed_names)


def test_numbers_that_white_does_not_fit_are_told_and_mapped_where_files_are_encoded_again(
    tmp_path, capsys
):
    (tmp_path / "source").mkdir()
    for place in range(3):
        image = Image.fromarray(np.full((8, 8), 500 * place, dtype=np.uint16))
        image.save(tmp_path / f"source/{place}.png")
    create(tmp_path / "source", tmp_path / "copied", PackOptions(), 1)
    said = "3 of 3 images looked at hold numbers from 0 to 1000, while 0 becomes black and 65535"
    assert said in capsys.readouterr().out
    for tool in (verify, info):
        tool(str(tmp_path / "copied"))
        assert said in capsys.readouterr().out
    options = PackOptions(quality=100, white=1000.0)
    create(tmp_path / "source", tmp_path / "encoded", options, 1)
    assert "warning" not in capsys.readouterr().out
    reader = ShardReader(open_shards(str(tmp_path / "encoded")))
    means = [np.asarray(decode(reader.read(0, row), 1)).mean() for row in range(3)]
    assert sorted(means) == pytest.approx([0, 127, 255], abs=1)
    with pytest.raises(UserError, match="black=1000 must be less than white=1000"):
        PackOptions(black=1000.0, white=1000.0)


def test_of_a_file_of_several_pictures_it_is_said_that_the_first_is_taken(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one.tif").write_bytes(image_bytes(0, "TIFF"))
    for name, kind in (("pages.tif", "TIFF"), ("moves.gif", "GIF")):
        pages = [Image.new("L", (9, 7), grey) for grey in (0, 100, 200)]
        data = encoded(pages[0], kind, save_all=True, append_images=pages[1:])
        (tmp_path / "in" / name).write_bytes(data)
    out = tmp_path / "out"
    create(tmp_path / "in", out, PackOptions(), num_workers=1)
    assert f"2 {PAGES}, as '" in capsys.readouterr().out
    assert open_shards(str(out)).left_out[PAGES][0] == 2
    info(str(out))
    printed = capsys.readouterr().out
    assert "2, of which the first is taken" in printed
    assert f"left out of {out}: 2 {PAGES}" in printed


def test_odd_extensions_of_jpeg_and_png_get_the_usual_ones(tmp_path):
    kinds = {"jfif": "JPEG", "jpe": "JPEG", "apng": "PNG", "bmp": "BMP", "gif": "GIF", "pgm": "PPM"}
    (tmp_path / "in").mkdir()
    for extension, kind in kinds.items():
        (tmp_path / "in" / f"x.{extension}").write_bytes(image_bytes(0, kind))
    create(tmp_path / "in", tmp_path / "out", PackOptions(), num_workers=1)
    with tarfile.open(tmp_path / "out" / "train-000000.tar") as tar:
        found = sorted(name.rpartition(".")[2] for name in tar.getnames())
    assert found == ["bmp", "gif", "jpg", "jpg", "pgm", "png"]
    assert open_shards(str(tmp_path / "out")).num_samples == 6


@pytest.mark.parametrize("option", [{"max_bad_share": 2}, {"num_workers": 0}])
def test_what_cannot_be_done_is_refused(source, tmp_path, option):
    ((name, value),) = option.items()
    with pytest.raises(UserError, match=f"{name}={value}"):
        create(source, tmp_path / "out", PackOptions(), **option)


OF_TIFF = {"photometric": "minisblack", "planarconfig": "contig", "compression": "deflate"}


@pytest.mark.parametrize(
    ("kind", "dtype", "packed"),
    [
        ("npy", "float32", npy),
        ("npz", "float16", lambda array: npz(bands=array)),
        ("tif", "uint16", lambda array: tiff(array, **OF_TIFF)),
    ],
)
def test_files_of_any_channels_are_packed_as_they_are(kind, dtype, packed, tmp_path, capsys):
    arrays = {name: numbers((20, 16, 5), dtype) for name in ("a/0", "a/1", "a/2", "b/0", "b/1")}
    for name, array in arrays.items():
        path = tmp_path / f"tiles/{name}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed(array))
    (tmp_path / f"tiles/b/2.{kind}").write_bytes(packed(arrays["b/1"])[:-200])
    out = tmp_path / "out"
    create(
        tmp_path / "tiles", out, PackOptions(samples_per_shard=3), num_workers=1, max_bad_share=0.5
    )
    assert f"left out: b/2.{kind}" in capsys.readouterr().out
    reader = ShardReader(open_shards(str(out), index_missing=False))
    places = [(shard, row) for shard, num in enumerate((3, 2)) for row in range(num)]
    read = [read_bands(reader.read(*place), Bands(dtype), MAX_PIXELS) for place in places]
    assert {one.tobytes() for one in read} == {one.tobytes() for one in arrays.values()}
    for place, one in zip(places, read, strict=True):
        (name,) = [name for name, array in arrays.items() if array.tobytes() == one.tobytes()]
        assert "ab"[reader.label(*place)] == name[0]
    verify(str(out), num_workers=1)
