import os
import shutil

import pytest

from ssl_swin.data.open import index_anew, join, open_shards
from ssl_swin.data.shards.left_out import AGAIN, HIDDEN
from ssl_swin.data.shards.listing import find_local_tars
from ssl_swin.errors import ShardError
from tests.data.shards.tars import numbered_tars


def names(found):
    return [path.name for path in found[0]]


def test_what_a_mac_adds_is_no_shard(folder):
    for name in ("._train-000000.tar", "._train-000001.tar"):
        (folder / name).write_bytes(b"\0\5\26\7" + bytes(300))
    found = find_local_tars(str(folder))
    assert names(found) == [f"train-{place:06d}.tar" for place in range(4)]
    assert found[1] == {HIDDEN: (2, found[1][HIDDEN][1])}
    assert open_shards(str(folder)).num_samples == 9
    assert open_shards(str(folder)).left_out == found[1]
    with pytest.raises(ShardError, match="nothing but what a Mac adds"):
        find_local_tars(str(folder / "._train-000000.tar"))


@pytest.mark.parametrize("link", [os.link, os.symlink])
@pytest.mark.parametrize("pattern", ["", "*.tar", "{a,b,train-000000,train-000002}.tar"])
def test_links_to_tars_of_the_set_are_not_counted_twice(folder, link, pattern):
    link(folder / "train-000000.tar", folder / "b.tar")
    link(folder / "b.tar", folder / "a.tar")
    tars, left_out = find_local_tars(os.path.join(folder, pattern))
    real = {path.resolve() for path in tars}
    assert len(real) == len(tars) == (2 if "," in pattern else 4)
    assert left_out == {AGAIN: (2, left_out[AGAIN][1])}
    if link is os.symlink:
        assert all(path.name.startswith("train") for path in tars)


def test_a_link_to_a_tar_elsewhere_is_a_shard(tmp_path):
    numbered_tars(tmp_path / "there", (2, 3))
    (tmp_path / "here").mkdir()
    for path in (tmp_path / "there").iterdir():
        (tmp_path / "here" / path.name).symlink_to(path)
    shutil.copy(tmp_path / "there" / "train-000000.tar", tmp_path / "here" / "copy.tar")
    assert len(names(find_local_tars(str(tmp_path / "here")))) == 3


def test_two_spellings_of_one_path_are_one_shard(folder):
    pattern = f"{folder}/{{.,../{folder.name}}}/train-000001.tar"
    assert len(names(find_local_tars(pattern))) == 1


def test_what_is_left_out_of_a_set_stays_known(folder):
    os.symlink("train-000000.tar", folder / "a.tar")
    found, left_out = index_anew(str(folder), 1, None)
    assert (len(found), left_out) == (4, {AGAIN: (1, "a.tar")})
    shards = open_shards(str(folder))
    both = join([shards, open_shards(str(numbered_tars(folder / "more", (1,))))])
    assert both.left_out == shards.left_out == left_out
    assert both.storage.impatient().left_out == left_out


def test_a_link_that_leads_nowhere_is_not_passed_over(folder):
    (folder / "train-000009.tar").symlink_to("nowhere.tar")
    with pytest.raises(ShardError, match=r"No such file .*train-000009\.tar"):
        open_shards(str(folder))
