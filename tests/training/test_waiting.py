import multiprocessing
import os
import threading
import time

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from ssl_swin.training.waiting import Batches


class Numbers(Dataset):
    def __init__(self, fails_at=-1, stalls_at=-1):
        self.fails_at, self.stalls_at = fails_at, stalls_at
        self.read = []

    def __len__(self):
        return 6

    def __getitem__(self, place):
        if place == self.fails_at:
            raise OSError("the storage is gone")
        if place == self.stalls_at:
            time.sleep(600)
        self.read.append(place)
        return {"index": torch.tensor(place)}


class Until:
    """Goes on until so many batches were used, and waits for each."""

    def __init__(self, stop=6):
        self.stop, self.expected = stop, []

    def expect(self, batch):
        self.expected.append(batch)

    def go_on(self, batch):
        assert batch is self.expected[-1]
        if self.stop == 0:
            return False
        self.stop -= 1
        batch.exception()  # waits
        return True


def loader(numbers, num_workers):
    return DataLoader(numbers, batch_size=None, num_workers=num_workers)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_those_of_the_loader(num_workers):
    batches = Batches(loader(Numbers(), num_workers), Until())
    assert len(batches) == 6
    assert [batch["index"].item() for batch in batches] == list(range(6))
    batches.close()


def test_without_processes_a_batch_is_read_only_while_it_is_waited_for():
    numbers = Numbers()
    batches = Batches(loader(numbers, 0), Until(4))
    for batch in batches:
        assert numbers.read[-1] == batch["index"].item()
    batches.close()


def test_a_batch_that_never_comes_is_left_and_its_process_with_it():
    before = set(multiprocessing.active_children())
    meeting = Until(2)
    batches = Batches(loader(Numbers(stalls_at=2), 1), meeting)
    assert [batch["index"].item() for batch in batches] == [0, 1]
    assert not meeting.expected[-1].done()
    (process,) = set(multiprocessing.active_children()) - before
    batches.close()
    assert set(multiprocessing.active_children()) == before
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_of_the_loader_is_raised_where_its_batch_is_waited_for(num_workers):
    batches = Batches(loader(Numbers(fails_at=1), num_workers), Until())
    used = []
    with pytest.raises(OSError, match="the storage is gone"):
        used.extend(batch["index"].item() for batch in batches)
    batches.close()


class Moving:
    """Notes in which thread a batch is moved, and in which order it is used."""

    def __init__(self):
        self.begun, self.ended = [], []

    def begin(self, batch):
        self.begun.append((batch["index"].item(), threading.current_thread().name))
        return ("moved", batch)

    def end(self, copy):
        self.ended.append((copy[1]["index"].item(), len(self.begun)))
        return {copy[0]: copy[1]["index"]}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_batch_is_moved_by_the_thread_that_took_it_and_used_once(num_workers):
    moving, meeting = Moving(), Until()
    batches = Batches(loader(Numbers(), num_workers), meeting, moving)
    used = []
    for batch in batches:
        if num_workers:
            meeting.expected[-1].exception()  # waits: the next one is moved before this is used up
        used.append(batch["moved"].item())
    assert used == list(range(6))
    assert moving.begun == [(place, "batches") for place in range(6)]
    ahead = [place + 1 for place in range(6)]
    assert moving.ended == list(zip(range(6), ahead, strict=True))
    batches.close()


def test_an_error_of_moving_is_raised_where_the_batch_is_waited_for():
    moving = Moving()
    moving.begin = lambda _: 1 / 0
    batches = Batches(loader(Numbers(), 0), Until(), moving)
    with pytest.raises(ZeroDivisionError):
        next(iter(batches))
    batches.close()
