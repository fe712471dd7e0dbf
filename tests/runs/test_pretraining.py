from dataclasses import replace

import pytest

from ssl_swin.config.model import ProgressiveConfig
from ssl_swin.errors import UserError
from ssl_swin.runs.build import build
from ssl_swin.runs.describe import describe
from ssl_swin.runs.few_images import FewImages
from tests.training.conftest import write_shards
from tests.training.test_progressive import config
from tests.training.tiny import built


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("shards"), [120, 83])


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (16, r"progressive\[0\]: encoder\.backbone\.layers\.1\..* same windows"),
        (36, r"progressive\[0\]: mask_patch_size=8 does not divide"),
        (96, r"progressive\[0\]: sizes must not be above model\.img_size, 64 px; choose"),
        ((32, 36), r"progressive\[0\]: .*; choose another size than 32 x 36 px"),
    ],
)
def test_sizes_that_do_not_fit_are_one_clear_line(size, said, tmp_path, shards):
    given = replace(config(tmp_path, shards), progressive=(ProgressiveConfig(1, size),))
    with pytest.raises(UserError, match=said) as found:
        build(given)
    assert "\n" not in str(found.value)


@pytest.mark.usefixtures("short_timing")
def test_a_dry_run_counts_small_images_by_their_pixels(tmp_path, shards, capsys, monkeypatch):
    monkeypatch.setattr(FewImages, "step_s", lambda _: 600.0)
    assert describe(built(config(tmp_path, shards))) == 0
    whole = 8 * (32 * 32 + 32 * 48 + 64 * 64) / 64**2
    assert f"about {whole / 6:.1f} h for those that are left\n" in capsys.readouterr().out


def test_what_grows_is_said(tmp_path, shards, capsys):
    build(config(tmp_path, shards))
    told = "images: 32 px until step 8, 32 x 48 px until step 16, then 64 px"
    assert told in capsys.readouterr().out.splitlines()
