import errno
import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from ssl_swin import machine
from ssl_swin.__main__ import run
from ssl_swin.errors import MachineError
from ssl_swin.files import replacing
from ssl_swin.machine import (
    LoaderNeeds,
    allow_open,
    as_text,
    cause,
    disk_shortage,
    raise_file_limit,
    shortages,
    usable_cores,
)
from ssl_swin.training.checkpoint_file import write_checkpoint

NEEDS = LoaderNeeds(processes=4, num_workers=3, batch_bytes=10**6)


class Disk:
    """What `shutil.disk_usage` says of a disk with so much room."""

    def __init__(self, free):
        self.free = self.total = free


def test_needs_grow_with_processes_workers_and_batches():
    assert NEEDS.shared_bytes == 4 * (2 * 3 + 2) * 10**6
    assert NEEDS._replace(num_workers=0).shared_bytes == 0
    assert NEEDS._replace(num_workers=100).open_files > 1024 > NEEDS.open_files


@pytest.mark.parametrize(("free", "short"), [(32 * 10**6, False), (10**6, True)])
def test_short_shared_memory_is_told_by_how_much(monkeypatch, free, short):
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: Disk(free))
    told = [line for line in shortages(NEEDS) if "/dev/shm" in line]
    assert bool(told) == short
    if short:
        assert told[0].startswith(
            "/dev/shm has 1.0 MB free, the loader processes of this run may need 32.0 MB, 31.0 MB "
            "more: docker run --shm-size=..."
        )
    assert not [line for line in shortages(NEEDS._replace(num_workers=0)) if "/dev/shm" in line]


def test_a_low_limit_of_open_files_is_raised_and_told_where_it_cannot_be():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = NEEDS._replace(num_workers=10)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, limits[0]), limits[1]))
        raise_file_limit(few.open_files)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(few.open_files, limits[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100));"
        "from ssl_swin.machine import *; raise_file_limit(LoaderNeeds(1, 2, 1).open_files);"
        "print(shortages(LoaderNeeds(1, 2, 1)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        "a process may open 100 files, one of this run may need 408: raise `ulimit" in told.stdout
    )


@pytest.fixture
def limit():
    """Sets this process's soft limit of open files; it is put back afterwards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def set_soft(soft, hard=before[1]):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    yield set_soft
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_soft_limit_is_raised_where_files_need_it_and_only_then(limit):
    limit(400)
    assert allow_open(144) == 144
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 400
    assert allow_open(145) == 145
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 401


def test_the_hard_limit_is_kept_and_half_of_a_small_one_is_left_to_others(monkeypatch):
    limits, asked = [100, 100], []
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: asked.append(pair))
    assert allow_open(1000) == 50
    assert asked == [(100, 100)]
    limits[:] = 1024, 4096
    assert allow_open(10_000) == 1024 - 256  # a system that allows less than it says
    limits[:] = resource.RLIM_INFINITY, resource.RLIM_INFINITY
    assert allow_open(10_000) == 10_000


def test_a_temporary_folder_that_is_not_used_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "not_there"))
    monkeypatch.setattr(machine.tempfile, "tempdir", None)
    (told,) = [line for line in shortages(NEEDS) if "TMPDIR" in line]
    assert told.startswith(f"TMPDIR={tmp_path}/not_there is not there, full or read-only: ")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(machine.tempfile, "tempdir", None)
    assert not [line for line in shortages(NEEDS) if "TMPDIR" in line]
    monkeypatch.setattr(machine.tempfile, "tempdir", None)

    def none():
        raise FileNotFoundError(2, "No usable temporary directory")

    monkeypatch.setattr(machine.tempfile, "gettempdir", none)
    assert "no temporary folder can be written to: set TMPDIR to one that can" in shortages(NEEDS)


def test_a_disk_that_is_too_small_is_told(tmp_path, monkeypatch):
    assert disk_shortage(tmp_path, 1) is None
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: Disk(10))
    assert disk_shortage(tmp_path, 2 * 10**9) == (
        f"the disk of {tmp_path} has 10 B free, the checkpoints of this run need 2.0 GB: make "
        "room, or give another run_dir"
    )


@contextmanager
def largest_file(num_bytes):
    """Let files of this process have so many bytes; pytest's own log, too, so not for long."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("num", [1, 10**5])
def test_a_checkpoint_without_room_is_one_line(tmp_path, num):
    state = {"w": torch.zeros(10**4 // num), "v": torch.zeros(num)}
    told = r"^a file would be larger .* for last\.ckpt"
    with largest_file(4096), pytest.raises(MachineError, match=told) as error:
        write_checkpoint(tmp_path / "last.ckpt", state)
    assert error.value.errno == errno.EFBIG  # so that a cache may make room
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
    assert cause(error.value) == str(error.value)


def test_other_errors_of_writing_stay_as_they_are(tmp_path):
    with pytest.raises(RuntimeError, match="bug"), replacing(tmp_path / "x"):
        raise RuntimeError("bug")
    with pytest.raises(PermissionError), replacing(tmp_path / "x"):
        raise PermissionError(errno.EACCES, "no")


def wrapped(error):
    """An error that came up while another one, which a library has hidden, was handled."""
    try:
        try:
            raise error
        except OSError:
            raise RuntimeError("unexpected pos 64 vs 0")  # noqa: B904
    except RuntimeError as outer:
        return outer


def from_code(number):
    return OSError(number, os.strerror(number), "/run/x")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (from_code(errno.ENOSPC), "the disk is full in /run/x; make room"),
        (wrapped(from_code(errno.ENOSPC)), "the disk is full in /run/x; make room"),
        (from_code(errno.EDQUOT), "the quota is used up in /run/x; make room"),
        (from_code(errno.EMFILE), "too many open files, "),
        (RuntimeError("received 0 items of ancdata"), "too many open files, "),
        (RuntimeError("unable to allocate shared memory(shm) for file </t>"), "found /dev/shm, "),
        (RuntimeError("worker (pid 1) is killed by signal: Bus error. "), "full (or a file that"),
        (MemoryError("no memory to read last.ckpt into"), "no memory to read last.ckpt into: this"),
        (
            MemoryError("Caught MemoryError in DataLoader worker process 0.\nx"),
            "memory is too small",
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), "memory is too small: "),
        (from_code(errno.ENOMEM), "or use fewer data.num_workers or a smaller training.micro_"),
        (RuntimeError("failed to listen, name: EADDRINUSE, ..."), "is taken on this machine by"),
    ],
)
def test_the_cause_of_a_failure_is_one_line(error, told):
    line = cause(error)
    assert told in line
    assert "\n" not in line


def test_a_bug_has_no_cause_in_the_machine():
    assert cause(KeyError("x")) is None
    assert cause(wrapped(from_code(errno.EIO))) is None


def test_bytes_are_written_for_people():
    numbers = [5, 1500, 2.5e6, 64e9, 3e13]
    assert list(map(as_text, numbers)) == ["5 B", "1.5 kB", "2.5 MB", "64.0 GB", "30.0 TB"]


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="Linux only")
def test_torch_says_shared_memory_in_the_words_that_are_looked_for():
    with pytest.raises(RuntimeError) as error:
        torch.UntypedStorage._new_shared(2**60)
    assert "found /dev/shm" in cause(error.value)


def test_a_run_whose_checkpoint_finds_no_room_ends_with_one_line(two_step_run, tmp_path, capsys):
    arguments, folder = two_step_run
    with largest_file((folder / "checkpoints/last.ckpt").stat().st_size - 1000):
        status = run([*arguments, f"--run-dir={tmp_path}/run"])
    assert status == 1
    *before, told = capsys.readouterr().err.splitlines()
    assert all(line.startswith("step ") for line in before)
    assert told.startswith("error: a file would be larger than `ulimit -f` or the file system")
    assert "last.ckpt; make room, then the same command goes on" in told


@pytest.mark.usefixtures("short_timing")
def test_what_is_short_is_told_before_the_first_step(two_step_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: Disk(1000))
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    words = [*two_step_run[0], f"--run-dir={tmp_path}/run", "--dry-run"]
    assert run(words) == 0
    told = capsys.readouterr().err
    assert f"warning: the disk of {tmp_path} has 1.0 kB free, the checkpoints of this run" in told
    assert "/dev/shm" not in told  # there are no loader processes


def test_a_quota_counts_as_fewer_cores(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_CPU_MAX", tmp_path / "cpu.max")
    cores = usable_cores()  # there is no such file
    for text, expected in (("max 100000", cores), ("100000 100000", 1), ("50000 100000", 1)):
        (tmp_path / "cpu.max").write_text(text)
        assert usable_cores() == expected


@pytest.mark.parametrize(
    ("threads", "load", "is_told"), [(None, 9.0, True), (1, 9.0, False), (2, 0.5, False)]
)
def test_threads_that_would_wait_for_one_another_are_told(monkeypatch, threads, load, is_told):
    monkeypatch.setattr(machine, "CROWDED", 1.5)
    monkeypatch.setattr(machine, "usable_cores", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))
    told = machine.crowd(threads)
    assert (told is not None) == is_told
    assert told is None or told.startswith("9 processes want the 2 cores of this machine")
