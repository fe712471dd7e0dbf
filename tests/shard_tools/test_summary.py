"""The end of `shards create`: what was packed, what was left out, where, and what to type next."""

from ssl_swin.shard_tools.assign import PackOptions
from ssl_swin.shard_tools.create import create
from ssl_swin.shard_tools.select import Selection
from tests.data.shards.tars import image_bytes


def write(folder, *names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image_bytes(number))
    return folder


def test_the_last_lines_say_what_was_packed_and_what_was_left_out(tmp_path, capsys):
    source = write(tmp_path / "in", "ant/1.png", "bee/1.png", "bee/2.png", "cat/1.png")
    (source / "dog").mkdir()
    (source / "ant" / "IMG.HEIC").write_bytes(b"")
    (source / "ant" / "torn.png").write_bytes(b"no image")
    out = tmp_path / "out"
    for _ in range(2):  # once more, nothing is left to do
        create(source, out, PackOptions(), 1, max_bad_share=1)
        num_bytes = (out / "train-000000.tar").stat().st_size
        assert capsys.readouterr().out.partition("4 images")[2].splitlines() == [
            ", 4 classes",
            "",
            "  class   images",
            "  ant          1",
            "  bee          2",
            "  cat          1",
            "  dog          0",
            "  without an image: dog",
            "",
            f"left out of {source}:",
            "  1 files without an image's extension, as 'ant/IMG.HEIC'",
            "  1 files that cannot be read, as 'ant/torn.png'",
            f"{out}: 4 images in 1 shard, {num_bytes / 1000:.1f} kB",
            f"{out}/sources.csv: which image is which file",
            f"next: ssl-swin recipe {out} -o my.yaml",
        ]
    assert (out / "bad_files.txt").read_text() == (
        "ant/torn.png\tUnidentifiedImageError: cannot identify image file\n"
    )


def test_images_without_classes_need_no_table(tmp_path, capsys):
    source, out = write(tmp_path / "in", "1.png"), tmp_path / "my shards"
    create(source, out, PackOptions(), num_workers=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-4] == "1 images, no classes"
    assert lines[-1] == f"next: ssl-swin recipe '{out}' -o my.yaml"


def test_the_table_of_many_long_names_fits_a_narrow_terminal(tmp_path, capsys):
    names = [f"{number:02d} {'of a long name' * 8}/1.png" for number in range(30)]
    create(write(tmp_path, *names), tmp_path / "o", PackOptions(), 1)
    printed = capsys.readouterr().out
    table = printed.partition("class ")[2].partition("\n\n")[0].splitlines()
    assert max(map(len, table)) <= 80
    assert table[-1] == "  and 10 more, of 1 to 1 images"


def test_what_looks_like_a_mistake_is_told(tmp_path, capsys):
    source = write(tmp_path / "in", "images/ant/1.png", "images/bee/2.png", "images/bee/noname")
    create(source, tmp_path / "out", PackOptions(), 1)
    printed = capsys.readouterr().out
    assert (
        "warning: the only class, 'images', holds folders; if these are the classes, give "
        f"{source}/images as the source\n"
    ) in printed
    assert "left out, but 'images/bee/noname' is PNG all the same; give such files its" in printed
    create(source / "images", tmp_path / "other", PackOptions(), 1)
    assert "the only class" not in capsys.readouterr().out


def test_a_split_says_its_shares_and_groups(tmp_path, capsys):
    names = [f"{place}.png" for place in range(8)]
    source = write(tmp_path / "in", *names)
    rows = [f"{name},{'ab'[place % 2]},camera {place // 2}" for place, name in enumerate(names)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,group", *rows]))
    selection = Selection(csv=tmp_path / "list.csv", split="val=0.25")
    create(source, tmp_path / "out", PackOptions(), 1, selection=selection)
    printed = capsys.readouterr().out
    assert f"{tmp_path}/out/train: 6 images (75.0%) of 3 groups in 1 shard, " in printed
    assert f"{tmp_path}/out/val: 2 images (25.0%) of 1 group in 1 shard, " in printed
    with (tmp_path / "out" / "sources.csv").open() as file:
        assert file.read().count(",camera ") == 8
