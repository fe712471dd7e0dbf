import errno

import pytest

from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.settings import has_classes, read_config

CONFIG = "data:\n  mean: [0.5]\nseed: 1\nnum_classes: 10\ntraining:\n  devices: 2\n"


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


def test_settings_have_dotted_names(folder):
    folder.config.write_text(CONFIG)
    assert read_config(folder)["training.devices"] == 2
    assert read_config(folder)["data.mean"] == [0.5]
    assert has_classes(folder)


@pytest.mark.parametrize("text", [None, "", "seed: [0\n", "- 1\n", "a: \0", "training:\n  dev"])
def test_what_is_half_written_has_none(folder, text):
    if text is not None:
        folder.config.write_text(text)
    assert "training.devices" not in read_config(folder)
    assert not has_classes(folder)


def test_the_kind_is_known_of_half_a_config(folder):
    folder.config.write_text(CONFIG.replace("2\n", "[2\n"))
    assert read_config(folder) == {}
    assert has_classes(folder)


def test_a_failure_of_the_storage_is_no_missing_file(folder):
    folder.config.symlink_to("/proc/self/mem")  # Linux has no first byte of it
    with pytest.raises(OSError, match="Input/output error") as error:
        read_config(folder)
    assert (error.value.errno, error.value.filename) == (errno.EIO, str(folder.config))
