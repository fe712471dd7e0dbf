import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace

import numpy as np
import pytest
import webdataset
from PIL import Image

from ssl_swin.data.open import open_shards
from ssl_swin.data.pixels.decode import UnreadableImage
from ssl_swin.data.pixels.formats import decode
from ssl_swin.data.shards.left_out import PAGES
from ssl_swin.data.shards.one_maker import _take
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.errors import ShardError, UserError
from ssl_swin.shard_tools.assign import PackOptions
from ssl_swin.shard_tools.create import create, encode
from ssl_swin.shard_tools.info import info
from ssl_swin.shard_tools.verify import verify
from tests.data.pixels.pictures import encoded, noise
from tests.data.remote.faulty import serving
from tests.data.shards.tars import image_bytes, write_tar


def content(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


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
    with pytest.raises(UserError, match=r"nowhere cannot be listed \(No such file"):
        create(tmp_path / "nowhere", tmp_path / "out", PackOptions())


@pytest.mark.parametrize("stop", range(5))
def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(source, tmp_path, monkeypatch, stop):
    (source / "cat" / "torn.png").write_bytes(image_bytes(99)[:50])
    options = {"options": PackOptions(samples_per_shard=2), "num_workers": 1, "max_bad_share": 0.2}
    create(source, tmp_path / "straight", **options)
    replace, finished = os.replace, []

    def stopping_replace(temporary, name):
        if str(name).endswith(".tar"):
            if len(finished) == stop:
                raise KeyboardInterrupt
            finished.append(name)
        replace(temporary, name)

    monkeypatch.setattr(os, "replace", stopping_replace)
    with pytest.raises(KeyboardInterrupt):
        create(source, tmp_path / "out", **options)
    monkeypatch.undo()
    half = next((tmp_path / "out").glob("*.partial"))
    half.write_bytes(half.read_bytes()[:700])
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.tar")}
    assert len(kept) == stop
    create(source, tmp_path / "out", **options)
    assert content(tmp_path / "out") == content(tmp_path / "straight")
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items())


@pytest.fixture
def many(tmp_path):
    (tmp_path / "many").mkdir()
    for seed in range(120):
        (tmp_path / "many" / f"{seed}.png").write_bytes(image_bytes(seed, size=(64, 64)))
    return tmp_path / "many"


def test_a_run_killed_at_work_goes_on_and_ends_with_the_same_bytes(many, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "ssl_swin", "shards", "create", many, out]
    options = ["--samples_per_shard=1", "--num_workers=1"]
    run = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
    while run.poll() is None and not list(out.glob("*.tar")):
        time.sleep(0.001)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert 0 < len(list(out.glob("*.tar"))) < 120
    create(many, out, PackOptions(samples_per_shard=1), num_workers=1)
    create(many, tmp_path / "straight", PackOptions(samples_per_shard=1), num_workers=1)
    assert content(out) == content(tmp_path / "straight")


@pytest.mark.slow  # each worker imports torch, by way of webdataset
def test_any_number_of_workers_writes_the_same_bytes(many, tmp_path):
    for num_workers in (1, 3):
        create(many, tmp_path / f"{num_workers}", PackOptions(samples_per_shard=7), num_workers)
    assert content(tmp_path / "1") == content(tmp_path / "3")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "begun with seed=0, now it is 1"),
        ({"samples_per_shard": 5}, "begun with samples_per_shard=4, now it is 5"),
        ({"quality": 80}, "begun with quality=None, now it is 80"),
        ({"prefix": "val"}, "begun with prefix='train', now it is 'val'"),
    ],
)
def test_other_options_are_refused_in_the_same_folder(source, tmp_path, change, message):
    options = PackOptions(samples_per_shard=4)
    create(source, tmp_path / "out", options, num_workers=1)
    before = content(tmp_path / "out")
    with pytest.raises(UserError, match=message):
        create(source, tmp_path / "out", replace(options, **change), num_workers=1)
    assert content(tmp_path / "out") == before


def test_another_set_is_refused_in_the_same_folder(source, tmp_path):
    create(source, tmp_path / "out", PackOptions(), num_workers=1)
    (source / "cat" / "one.png").write_bytes(image_bytes(1000, size=(9, 9)))
    with pytest.raises(UserError, match="begun with listing="):
        create(source, tmp_path / "out", PackOptions(), num_workers=1)
    (tmp_path / "other").mkdir()
    write_tar(tmp_path / "other" / "a.tar", [])
    with pytest.raises(UserError, match=r"holds 1 tars of another origin \(a\.tar\)"):
        create(source, tmp_path / "other", PackOptions(), num_workers=1)


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


@pytest.mark.parametrize(
    ("name", "size", "options", "kind", "result"),
    [
        ("a.png", (80, 40), {"short_side": 20}, "PNG", (40, 20)),
        ("a.jpg", (40, 90), {"short_side": 20}, "JPEG", (20, 45)),
        ("a.webp", (80, 40), {"short_side": 20}, "JPEG", (40, 20)),
        ("a.tif", (80, 40), {"short_side": 20}, "PNG", (40, 20)),
        ("a.png", (80, 40), {"short_side": 20, "quality": 50}, "JPEG", (40, 20)),
        ("a.png", (80, 40), {"quality": 50}, "JPEG", (80, 40)),
    ],
)
def test_images_are_encoded_again_only_as_asked(name, size, options, kind, result):
    kinds = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tif": "TIFF"}
    data = image_bytes(0, kinds[name[2:]], size)
    extension, encoded = encode(name, data, PackOptions(**options))
    image = Image.open(io.BytesIO(encoded))
    assert (image.format, image.size) == (kind, result)
    assert extension == {"PNG": "png", "JPEG": "jpg"}[kind]
    small = PackOptions(short_side=40)
    assert encode(name, data, small) == (name[2:], data)


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


def test_images_above_the_limit_of_pixels_are_unreadable():
    data = encoded(noise("L", (40, 20)), "PNG")
    assert encode("a.png", data, PackOptions(max_pixels=800)) == ("png", data)
    with pytest.raises(UnreadableImage, match="40 x 20 pixels, more than max_pixels=799"):
        encode("a.png", data, PackOptions(max_pixels=799))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_scaled_image_is_turned_upright_once(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(noise("L", (40, 20)), kind, exif=exif)
    _, small = encode(f"a.{kind.lower()}", data, PackOptions("a", None, None, 10, None, 0))
    whole = decode(data, in_chans=1)
    expected = whole.resize([side // 2 for side in whole.size], Image.Resampling.BICUBIC)
    assert decode(small, in_chans=1).tobytes() == expected.tobytes()


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16", "CMYK"])
@pytest.mark.parametrize("quality", [None, 80])
def test_every_kind_of_pixel_can_be_scaled(mode, quality):
    pixels = np.random.default_rng(0).integers(0, 2**16, (30, 60), dtype=np.uint16)
    if mode == "I;16":
        image = Image.fromarray(pixels)
    else:
        image = Image.fromarray((pixels // 257).astype(np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    options = PackOptions(short_side=10, quality=quality)
    extension, data = encode("x.png", buffer.getvalue(), options)
    scaled = Image.open(io.BytesIO(data))
    assert scaled.size == (20, 10)
    assert extension == ("png" if quality is None else "jpg")
    if quality is None and mode in ("L", "LA", "RGBA", "I;16"):
        assert scaled.mode == mode


@pytest.fixture
def folders(tmp_path):
    """A training folder of three classes and a held-out one that lacks the second."""
    for number, name in enumerate(["train/ant", "train/bee", "train/cat", "val/ant", "val/cat"]):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.png").write_bytes(image_bytes(number))
    return tmp_path


def pack(source, out, **options):
    create(source, out, PackOptions(), num_workers=1, **options)
    shards = open_shards(str(out))
    reader, names = ShardReader(shards), json.loads((out / "classes.json").read_text())
    return names, sorted(reader.label(0, row) for row in range(shards.num_samples))


@pytest.mark.parametrize("how", ["folder", "file", "shards", "url"])
def test_a_held_out_set_has_the_numbers_of_the_training_set(folders, tmp_path, how):
    known, _ = pack(folders / "train", tmp_path / "packed")
    (tmp_path / "names.txt").write_text("\ufeffant\n\n bee \r\ncat", encoding="utf-8")
    out = tmp_path / "out"
    if how == "folder":
        (folders / "val" / "bee").mkdir()
        found = pack(folders / "val", out)
    elif how == "file":
        found = pack(folders / "val", out, classes=tmp_path / "names.txt")
    elif how == "shards":
        found = pack(folders / "val", out, classes_from=str(tmp_path / "packed"))
    else:
        with serving(tmp_path / "packed") as server:
            found = pack(folders / "val", out, classes_from=server.url)
    assert found == (known, [0, 2])


def test_classes_that_do_not_fit_are_refused(folders, tmp_path):
    names, out = tmp_path / "names.txt", tmp_path / "out"
    with pytest.raises(UserError, match=r"classes=.*names\.txt: No such file"):
        pack(folders / "val", out, classes=names)
    names.write_text("ant\nant\n")
    with pytest.raises(UserError, match="one name a line, each of them once"):
        pack(folders / "val", out, classes=names)
    names.write_text("Ant\ncat\n")
    with pytest.raises(ShardError, match=r"do not name: \['ant'\]"):
        pack(folders / "val", out, classes=names)
    with pytest.raises(UserError, match="give one of the two"):
        pack(folders / "val", out, classes=names, classes_from="x")
    create(folders / "val" / "ant", tmp_path / "flat", PackOptions(), num_workers=1)
    with pytest.raises(UserError, match=r"flat has no classes\.json; give a file"):
        pack(folders / "val", out, classes_from=str(tmp_path / "flat"))
    assert not out.exists()


def test_a_run_does_not_go_on_with_other_classes(folders, tmp_path):
    before = pack(folders / "val", tmp_path / "out")
    (folders / "val" / "bee").mkdir()
    with pytest.raises(UserError, match=r"classes \['ant', 'cat'\], now they are \['ant', 'bee'"):
        pack(folders / "val", tmp_path / "out")
    (folders / "val" / "bee").rmdir()
    assert pack(folders / "val", tmp_path / "out") == before


def test_the_last_lines_say_what_was_packed_and_what_was_left_out(folders, tmp_path, capsys):
    (folders / "train" / "dog").mkdir()
    (folders / "train" / "ant" / "IMG.HEIC").write_bytes(b"")
    (folders / "train" / "ant" / "torn.png").write_bytes(b"no image")
    source, out = folders / "train", tmp_path / "out"
    for _ in range(2):  # once more, nothing is left to do
        pack(source, out, max_bad_share=1)
        lines = capsys.readouterr().out.splitlines()
        assert lines[-5:] == [
            "3 images, 4 classes: ant, bee, cat, dog",
            "classes without an image: dog",
            f"left out of {source}: 1 files without an image's extension, as 'ant/IMG.HEIC'; "
            "1 files that cannot be read, as 'ant/torn.png'",
            f"1 shards of {(out / 'train-000000.tar').stat().st_size:,} bytes in {out}",
            f"next: ssl-swin finetune CONFIG --num_classes 4 --data.shards {out}",
        ]
    assert (out / "bad_files.txt").read_text() == (
        "ant/torn.png\tUnidentifiedImageError: cannot identify image file\n"
    )
    create(source / "bee", tmp_path / "flat", PackOptions(), num_workers=1)
    lines = capsys.readouterr().out.splitlines()
    assert "1 images, no classes" in lines
    assert lines[-1] == f"next: ssl-swin pretrain CONFIG --data.shards {tmp_path / 'flat'}"


def test_folders_of_sets_and_two_spellings_are_warned_of(folders, tmp_path, capsys):
    out = tmp_path / "out"
    create(folders, out, PackOptions(), num_workers=1)
    printed = capsys.readouterr().out
    assert "warning: train, val hold folders, and are packed as classes; " in printed
    assert f"create {folders}/val {out}/val --classes-from {out}/train\n" in printed
    (folders / "train" / "Ant").mkdir()
    create(folders / "train", tmp_path / "other", PackOptions(), num_workers=1)
    assert "the classes 'Ant' and 'ant' may be one thing" in capsys.readouterr().out


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


@pytest.mark.parametrize("step", ["keep_assignment", "pack_shard", "write_manifest"])
def test_one_process_at_a_time_packs_into_a_folder(source, tmp_path, monkeypatch, step):
    real, num_tried = getattr(sys.modules[create.__module__], step), []

    def tried(*arguments):
        with pytest.raises(BlockingIOError):
            _take(tmp_path / "out" / ".create.lock")
        num_tried.append(1)
        return real(*arguments)

    monkeypatch.setattr(f"{create.__module__}.{step}", tried)
    create(source, tmp_path / "out", PackOptions(), num_workers=1)
    assert num_tried
    assert not (tmp_path / "out" / ".create.lock").exists()
