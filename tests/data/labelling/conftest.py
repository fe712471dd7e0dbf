"""Sets of tars whose labels are elsewhere, or are no numbers."""

import json

import pytest

from ssl_swin.data.open import open_shards
from tests.data.shards.tars import image_bytes, write_tar


@pytest.fixture
def make_set(tmp_path):
    """Factory of sets: a tar of each dict, key -> content of `.cls`, of `.json`, or None."""

    def make(name, *tars, classes=None):
        folder = tmp_path / name
        folder.mkdir()
        for number, samples in enumerate(tars):
            members = []
            for place, (key, label) in enumerate(samples.items()):
                members.append((f"{key}.png", image_bytes(place)))
                if isinstance(label, dict):
                    members.append((f"{key}.json", json.dumps(label).encode()))
                elif label is not None:
                    text = label if isinstance(label, bytes) else str(label).encode()
                    members.append((f"{key}.cls", text))
            write_tar(folder / f"{number}.tar", members)
        if classes is not None:
            (folder / "classes.json").write_text(json.dumps(classes))
        return open_shards(folder)

    return make
