"""Loader processes: same batches, quiet, and never further ahead than they say."""

import contextlib
import io
import multiprocessing
import signal
import sys
import tempfile
import threading
import time
from multiprocessing import reduction, util

import pytest
import torch
from torch.utils.data import Dataset

from ssl_swin.data.batches.labels import Labels
from ssl_swin.data.batches.loader import loader, num_in_flight
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.open import open_shards
from ssl_swin.data.order.one_set import SetOrder
from ssl_swin.data.order.shares import Shares
from ssl_swin.data.pixels.transforms import TrainTransform
from ssl_swin.errors import UserError


def test_any_number_of_workers_gives_the_same_batches(tiny_shards):
    shards = open_shards(str(tiny_shards([9, 0, 14], {3})))
    stream = ImageStream(shards, TrainTransform(0, 28, (0.3, 1.0)), 28, 3, Labels(10))
    order = SetOrder(stream.shards.counts, 0, 8, 4)
    alone, two = (list(loader(stream, Shares(order, 0, 2, 0, 5), num)) for num in (0, 2))
    assert len(alone) == len(two) == 5
    for first, second in zip(alone, two, strict=True):
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert len({value.untyped_storage().data_ptr() for value in second.values()}) == 1
        assert second["image"].is_shared()


class Witness(Dataset):
    """Batches that say how the process is set up that makes them."""

    def __getitems__(self, share):
        signals = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
        ignored = [signal.getsignal(each) is signal.SIG_IGN for each in signals]
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            for error in (ConnectionResetError("gone"), EOFError("gone")):
                sys.excepthook(type(error), error, None)
        facts = [*ignored, torch.get_num_threads() == 1, not said.getvalue()]
        return {"share": torch.tensor([share]), "facts": torch.tensor(facts)}


def test_a_loader_process_ignores_signals_has_one_thread_and_leaves_farewells_to_the_main_one():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        facts = [batch["facts"].tolist() for batch in loader(Witness(), range(3), 1)]
    finally:
        torch.set_num_threads(before)
    assert facts == [[True] * 5] * 3


def test_without_processes_nothing_is_changed_in_this_one():
    before = signal.getsignal(signal.SIGTERM), sys.excepthook
    assert [batch["share"].item() for batch in loader(Witness(), range(3), 0)] == [0, 1, 2]
    assert (signal.getsignal(signal.SIGTERM), sys.excepthook) == before


class Failing(Dataset):
    """Batches that a thread of the loader process fails to hand over, or to answer for."""

    def __init__(self, where):
        self.where = where

    def __getitems__(self, share):
        def fail(*_):
            raise OSError("AF_UNIX path too long")

        if self.where == "handing over":
            reduction.DupFd = fail
        else:
            threading.Thread(target=fail).start()
            time.sleep(60)
        return {"share": torch.tensor([share])}


@pytest.mark.parametrize("where", ["handing over", "another thread"])
def test_a_loader_process_whose_thread_fails_ends_and_says_why(where, capfd):
    with pytest.raises(RuntimeError, match=r"DataLoader worker .* exited unexpectedly"):
        list(loader(Failing(where), range(3), 1))
    assert "OSError: AF_UNIX path too long" in capfd.readouterr().err


def read_in_a_folder_with_a_long_name(long):
    multiprocessing.current_process()._config.pop("tempdir", None)
    tempfile.tempdir = long
    shares = [batch["share"].item() for batch in loader(Witness(), range(3), 1)]
    assert shares == [0, 1, 2]
    assert tempfile.gettempdir() == long
    assert len(util.get_temp_dir()) < 76


def test_a_long_tmpdir_is_no_folder_for_sockets(tmp_path):
    long = tmp_path / ("job" * 30)
    long.mkdir()
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=read_in_a_folder_with_a_long_name, args=(str(long),))
    process.start()
    process.join()
    assert process.exitcode == 0


def test_where_no_folder_is_short_enough_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("job" * 30)))
    monkeypatch.setattr("ssl_swin.data.batches.loader._SHORT_FOLDERS", ())
    with pytest.raises(UserError, match="set TMPDIR to a folder of at most 75 bytes"):
        loader(Witness(), range(3), 1)
    loader(Witness(), range(3), 0)


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_no_more_shares_are_taken_than_are_in_flight(num_workers):
    """What is fetched ahead is let go by this number, so it must hold for every share."""
    handed_on, ahead = 0, []

    def shares():
        for share in range(20):
            ahead.append(share - handed_on)
            yield share

    for batch in loader(Witness(), shares(), num_workers):
        assert batch["share"].item() == handed_on
        handed_on += 1
    assert handed_on == 20
    most = num_in_flight(num_workers)
    assert max(ahead) == (most if num_workers else 0) <= most
