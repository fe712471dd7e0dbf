import json
import os
from pathlib import Path

import pytest

from ssl_swin.record.owner import NUM_LOOKS, FolderGone, LostOwnership, Ownership

FACTS = {"life": 1, "job": "17", "restart": 0}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "owner.json"


def test_the_owner_is_written_down_and_goes_on(path):
    owner = Ownership(path)
    owner.require()  # before the claim
    text = owner.claim(FACTS)
    owner.require()
    written = json.loads(path.read_text())
    assert written.items() > (FACTS | {"pid": os.getpid()}).items()
    follower = Ownership(path)
    follower.follow(text)
    assert not follower.is_lost()


def test_a_later_claim_takes_the_folder_from_all_ranks_of_the_older(path):
    first, second, follower = Ownership(path), Ownership(path), Ownership(path)
    follower.follow(first.claim(FACTS))
    second.claim(FACTS)  # the same life number, as two starts at once have
    for lost in (first, follower):
        assert lost.is_lost()
        with pytest.raises(LostOwnership, match=r'run now belongs to .*"job": "17".*writes noth'):
            lost.require()
    assert not second.is_lost()


def test_an_earlier_start_of_the_same_job_cannot_take_the_folder_back(path):
    newer, older, other = (Ownership(path) for _ in range(3))
    newer.claim(FACTS | {"restart": 1})
    with pytest.raises(LostOwnership):  # given up while it began, and still there
        older.claim(FACTS | {"restart": 0})
    newer.require()
    other.claim(FACTS | {"job": "18", "restart": 0})
    assert newer.is_lost()


def test_a_folder_that_is_moved_away_is_gone_after_several_looks(path):
    owner = Ownership(path)
    assert not owner.is_gone()  # before the claim
    owner.claim(FACTS)
    assert not owner.is_gone()
    path.parent.rename(path.parent.with_name("moved"))
    with pytest.raises(FolderGone, match="the run folder was moved or deleted"):
        owner.require()
    assert not owner.is_lost()
    assert [owner.is_gone() for _ in range(NUM_LOOKS)] == [False] * (NUM_LOOKS - 1) + [True]
    path.parent.with_name("moved").rename(path.parent)
    assert not owner.is_gone()
    owner.require()
