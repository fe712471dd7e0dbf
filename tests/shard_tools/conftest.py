import os
from contextlib import contextmanager

import pytest

from tests.data.pixels.pictures import encoded, photograph
from tests.data.shards.tars import image_bytes, write_tar

NAMES = [
    "cat/one.png",
    "cat/two words.jpg",
    "cat/Zoë.jpg",
    "cat/日本語.png",
    "dog/a.b.c.PNG",
    "dog/deeper/.than/x.png",
    "dog/deeper/x.png",
    "dog/x.png",
    "dog/new\nline.png",
    "dog/" + "long" * 50 + ".webp",
    "eel/.hidden.png",
    "eel/x.tif",
    "eel/notes.txt",
]
IGNORED = {"dog/deeper/.than/x.png", "eel/.hidden.png", "eel/notes.txt"}


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


@pytest.fixture
def packed_names():
    """Those of the files of `source` that are images to pack, sorted."""
    return sorted(set(NAMES) - IGNORED)


@pytest.fixture
def source(tmp_path):
    kinds = {"jpg": "JPEG", "webp": "WEBP", "tif": "TIFF"}
    for seed, name in enumerate(NAMES):
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_bytes(seed, kinds.get(name.rpartition(".")[2], "PNG")))
    return tmp_path / "source"


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    """18 JPEGs, one PNG, and one file that is no image, in one shard."""
    folder = tmp_path_factory.mktemp("photographs")
    members = [
        (f"{i:04d}.jpg", encoded(photograph((90, 60 + i), seed=i), "JPEG")) for i in range(18)
    ]
    members.append(("0018.jpg", b"no image"))
    members.append(("0019.png", encoded(photograph((90, 60)), "PNG")))
    write_tar(folder / "a.tar", members)
    return folder


@pytest.fixture
def stopped_after(monkeypatch):
    """A context in which `create` is interrupted once so many of its tars are in their place."""
    replace = os.replace

    @contextmanager
    def stopped(num_tars):
        finished = []

        def stopping_replace(temporary, name):
            if str(name).endswith(".tar"):
                if len(finished) == num_tars:
                    raise KeyboardInterrupt
                finished.append(name)
            replace(temporary, name)

        monkeypatch.setattr(os, "replace", stopping_replace)
        with pytest.raises(KeyboardInterrupt):
            yield
        monkeypatch.undo()

    return stopped
