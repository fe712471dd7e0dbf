import os
import pickle
import tempfile
from pathlib import Path

import pytest

from ssl_swin.data.pixels.decode import UnreadableImage
from ssl_swin.errors import MachineError, RemoteError, ShardError, UserError
from ssl_swin.evaluation.images import open_images
from tests.conftest import png
from tests.data.remote.faulty import QUICK, serving


def names(*sources):
    found, _ = open_images([str(source) for source in sources])
    return [found.name(place) for place in range(len(found))]


def test_folders_files_and_patterns_are_read_in_their_order_each_image_once(photos, tmp_path):
    first, second = photos(3), photos(2, folder="more/deep")
    (tmp_path / "more" / "b.JPG").write_bytes(b"")
    found, said = open_images([str(second / "001.png"), str(first), str(tmp_path / "mo*")])
    assert [found.name(place) for place in range(len(found))] == [
        *(str(second / "001.png"), *(str(first / f"00{n}.png") for n in range(3))),
        *(str(tmp_path / "more" / "b.JPG"), str(second / "000.png")),
    ]
    assert said == [
        "left out of these images: 1 in the set already, under another name, as "
        f"'{str(second / '001.png')[:100]}'"
    ]
    assert found.read(1) == png(0, (40, 33), "RGB")


def test_what_is_no_image_in_a_folder_is_counted(photos):
    folder = photos(1)
    for name in ("notes.txt", ".hidden.png", "@eaDir/x.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    _, (line,) = open_images([str(folder)])
    assert "2 hidden, or in folders such as @eaDir" in line
    assert "1 files without an image's extension" in line


def test_a_link_back_does_not_go_on_for_ever(photos):
    folder = photos(2)
    (folder / "loop").symlink_to(folder)
    assert len(names(folder)) == 2


def test_shards_are_named_by_their_keys_and_stand_between_files(tiny_shards, photos):
    folder, files = tiny_shards([2, 1]), photos(1)
    assert names(folder) == ["000000", "000001", "000002"]
    assert names(folder / "tiny-{000000..000001}.tar") == ["000000", "000001", "000002"]
    file = str(files / "000.png")
    assert names(file, folder / "tiny-000001.tar", files) == [file, "000002", file]
    found, _ = open_images([str(files), str(folder)])
    assert found.read(2) == png(1)
    copy = pickle.loads(pickle.dumps(found))
    assert (copy.read(3), copy.fingerprint()) == (png(2), found.fingerprint())


def test_the_fingerprint_tells_other_images(tiny_shards, photos):
    folder, files = tiny_shards([2]), photos(2)
    sources = [[folder], [files], [files / "000.png"], [files, folder], [folder, files]]
    prints = [open_images([str(one) for one in some])[0].fingerprint() for some in sources]
    assert len(set(prints)) == len(prints)


def test_a_file_that_is_gone_is_broken_and_no_failure(photos):
    folder = photos(2)
    found, _ = open_images([str(folder)])
    (folder / "001.png").unlink()
    with pytest.raises(UnreadableImage, match="cannot be read: No such file or directory"):
        found.read(1)
    os.mkfifo(folder / "001.png")
    with pytest.raises(UnreadableImage, match="is no file"):  # and nothing waits for it
        found.read(1)


def test_a_folder_that_is_gone_is_no_mistake_of_the_images(photos):
    """As of a file system that is away: the rows to come would all be broken."""
    folder = photos(2)
    found, _ = open_images([str(folder)])
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(MachineError, match="is not there any more; once it is, the same command"):
        found.read(1)


def test_an_image_and_shards_may_be_urls(photos, tiny_shards, tmp_path):
    folder = photos(1)
    with serving(folder) as server:
        url = f"{server.url}/000.png"
        found, _ = open_images([f"{url}?secret=1", str(folder)])
        assert found.name(0) == url
        assert found.read(0) == found.read(1) == png(0, (40, 33), "RGB")
        later, _ = open_images([f"{url}?secret=2", str(folder)])
        assert later.fingerprint() == found.fingerprint()
        _, said = open_images([f"{url}?secret=1"] * 2)
        assert url in said[0]
        assert "secret" not in said[0]
        missing, _ = open_images([f"{server.url}/none.png"])
        with pytest.raises(UnreadableImage, match="nothing is there"):
            missing.read(0)
    with serving(tiny_shards([3])) as server:
        found, _ = open_images([f"{server.url}/tiny-000000.tar"], tmp_path / "cache")
        assert [found.name(place) for place in range(3)] == ["000000", "000001", "000002"]
        assert found.read(2) == png(2)


def test_a_server_that_fails_is_no_broken_image(photos, monkeypatch):
    monkeypatch.setattr("ssl_swin.evaluation.images.PATIENCE", QUICK)
    with serving(photos(1)) as server:
        server.faults["000.png"] = [500]
        found, _ = open_images([f"{server.url}/000.png"])
        with pytest.raises(RemoteError, match="cannot be fetched"):
            found.read(0)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda _: [], "no images are named"),
        (lambda folder: [folder / "none.png"], "there is no such image"),
        (lambda folder: [folder / "none" / "*.png"], "there is no such image"),
        (lambda folder: [folder / "empty"], "holds no image"),
        (lambda folder: [folder / "above"], "there are shards in"),
        (lambda folder: [folder / "text" / "*"], "holds no image"),
    ],
)
def test_nothing_to_classify_is_one_clear_line(tmp_path, tiny_shards, make, told):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").touch()
    (tmp_path / "above").mkdir()
    (tmp_path / "above" / "train").symlink_to(tiny_shards([1]))
    with pytest.raises(UserError) as info:
        open_images([str(one) for one in make(tmp_path)])
    assert told in str(info.value)
    assert "\n" not in str(info.value)


def test_a_missing_tar_is_refused_as_everywhere(tmp_path):
    with pytest.raises(ShardError, match="matches no tar"):
        open_images([str(tmp_path / "x.tar")])


def test_a_folder_that_may_not_be_listed_is_named():
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as root:  # pytest's own folders are closed to others
        os.chmod(root, 0o755)
        Path(root, "closed").mkdir(mode=0)
        try:
            if user == 0:  # root may list all
                os.seteuid(65534)
            with pytest.raises(UserError, match="closed cannot be listed"):
                open_images([root])
        finally:
            os.seteuid(user)


def test_a_glob_that_the_shell_has_expanded_may_be_long(photos):
    folder = photos(1)
    many = [str(folder / "000.png"), *(f"{folder}/./{'/' * n}000.png" for n in range(3000))]
    assert len(names(*many)) == 3001
