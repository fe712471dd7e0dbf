"""What a run needs of its machine, what is short of it, and which failures are the machine's.

Shared memory, open files, a temporary folder, disk, main memory. Standard library only.
"""

import errno
import math
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ssl_swin import main_memory
from ssl_swin.errors import MachineError

SHARED_MEMORY = Path("/dev/shm")
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)  # until something is deleted
FULL = (*NO_ROOM, errno.EFBIG)
AWAY = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EREMOTEIO, errno.EHOSTDOWN)  # storage
IN_FLIGHT_EACH = 2  # batches that each loader process makes ahead
_IN_FLIGHT_BESIDE = 2  # the batch in use, and the one on its way to the device
FACTS_BYTES = 4 * 8  # of an image in a batch, beside its pixels: index, epoch, replaced, label
# Open files of a process: of libraries, sockets and batches; tars and indexes, without which it
# opens some again and again; for each loader process.
_OTHER_FILES, _KEPT_FILES, _FILES_EACH = 256, 128, 12
_NO_MEMORY = "DefaultCPUAllocator: can't allocate memory"
CROWDED = 1.5  # processes for each core from which on threads mostly wait
_HOW_SHARED = "docker run --shm-size=..., or mount -o remount,size=..., or fewer data.num_workers"
_HOW_FILES = "raise `ulimit -n`, or use fewer data.num_workers"
_HOW_MEMORY = "ask for more, or use fewer data.num_workers or a smaller training.micro_batch_size"
_HOW_PORT = "unset MASTER_PORT, or give a free one"


class LoaderNeeds(NamedTuple):
    """What the loaders of a run take on one machine."""

    processes: int
    """Training processes."""
    num_workers: int
    """Loader processes of each of them."""
    batch_bytes: int
    """Of the largest batch, and of a held-out one, together."""

    @property
    def shared_bytes(self) -> int:
        """Bytes of batches that may wait in shared memory at once."""
        if not self.num_workers:
            return 0
        each = IN_FLIGHT_EACH * self.num_workers + _IN_FLIGHT_BESIDE
        return self.processes * each * self.batch_bytes

    @property
    def open_files(self) -> int:
        """Files that one process has open at once."""
        return _OTHER_FILES + _KEPT_FILES + _FILES_EACH * self.num_workers


def usable_cores() -> int:
    """Return the cores that this process may use: of its affinity, and of its group's quota."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = _CPU_MAX.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def speaks() -> bool:
    """Say whether this process is the one of its machine that tells what all of them would."""
    return os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")) == "0"


def raise_file_limit(wanted: int) -> float:
    """Raise this process's soft limit of open files to so many, as far as it may; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if soft == resource.RLIM_INFINITY else soft


def allow_open(wanted: int) -> int:
    """Return how many of the wanted files of shards this process, and its children, may keep open.

    The soft limit is raised for them as far as it may be. At least half of it counts as theirs.
    """
    limit = raise_file_limit(wanted + _OTHER_FILES)
    return int(min(wanted, max(limit - _OTHER_FILES, limit // 2)))


def crowd(num_threads: int | None) -> str | None:
    """Say that others want the cores, too, where a step would take several threads (None: all).

    Threads wait for each other, and for one that has no core all wait.
    """
    cores, wanted = usable_cores(), os.getloadavg()[0]
    if (num_threads or cores) < 2 or wanted < CROWDED * cores:
        return None
    return (
        f"{wanted:.0f} processes want the {cores} cores of this machine, and the threads of a step "
        "wait for one another: --training.num-threads 1 may be several times as fast now, and a "
        "run may go on with another number"
    )


def shortages(needs: LoaderNeeds) -> list[str]:
    """Say what this machine has too little of, by how much, and how to get more; a line each."""
    return [line for line in (_shared(needs), _files(needs), _temporary(needs)) if line]


def disk_shortage(place: Path, num_bytes: int) -> str | None:
    """Say whether a folder, which is there, has less room than so many bytes."""
    free = shutil.disk_usage(place).free
    if free >= num_bytes:
        return None
    return (
        f"the disk of {place} has {as_text(free)} free, the checkpoints of this run need "
        f"{as_text(num_bytes)}: make room, or give another run_dir"
    )


def _shared(needs: LoaderNeeds) -> str | None:
    need = needs.shared_bytes
    if not need or not SHARED_MEMORY.is_dir():
        return None
    free = shutil.disk_usage(SHARED_MEMORY).free
    if free >= need:
        return None
    return (
        f"{SHARED_MEMORY} has {as_text(free)} free, the loader processes of this run may need "
        f"{as_text(need)}, {as_text(need - free)} more: {_HOW_SHARED}"
    )


def _files(needs: LoaderNeeds) -> str | None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= needs.open_files:
        return None
    return (
        f"a process may open {hard} files, one of this run may need {needs.open_files}: "
        f"{_HOW_FILES}"
    )


def _temporary(needs: LoaderNeeds) -> str | None:
    if not needs.num_workers:
        return None
    given = os.environ.get("TMPDIR")
    try:
        used = tempfile.gettempdir()
    except FileNotFoundError:
        return "no temporary folder can be written to: set TMPDIR to one that can"
    if given and Path(given).absolute() != Path(used).absolute():
        return f"TMPDIR={given} is not there, full or read-only: {used} is used in its place"
    status = os.statvfs(used)
    if not status.f_bavail or (status.f_files and not status.f_favail):
        return f"{used} is full: make room there, or set TMPDIR to another folder"
    return None


def full(path: Path, error: BaseException) -> MachineError | None:
    """Return what to raise if writing a file failed since there was no room for it, or None."""
    found = next((one for one in _chain(error) if _errno(one) in FULL), None)
    if found is None:
        return None
    reason = f"{_no_room(_errno(found))} in {path.parent}, for {path.name}"
    raised = MachineError(f"{reason}; make room, then the same command goes on")
    raised.errno = _errno(found)
    return raised


def cause(error: BaseException) -> str | None:
    """Say in one line what of the machine was behind an error, and what to do; None if nothing.

    Libraries wrap such errors, or say them in words of their own.
    """
    for one in _chain(error):
        number, text = _errno(one), str(one)
        if isinstance(one, MachineError):
            return text
        if number in FULL:
            place = f" in {one.filename}" if isinstance(one, OSError) and one.filename else ""
            return f"{_no_room(number)}{place}; make room, then the same command goes on"
        if number in (errno.EMFILE, errno.ENFILE) or _any(text, "ancdata", "Too many open files"):
            soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            return f"too many open files, {soft} are allowed: {_HOW_FILES}"
        if _any(text, "Bus error", "shared memory(shm)"):
            return _shared_is_full("Bus error" in text)
        if number == errno.ENOMEM or isinstance(one, MemoryError) or _NO_MEMORY in text:
            own = text if isinstance(one, MemoryError) and "\n" not in text else ""
            took = as_text(main_memory.peak_resident_bytes())
            return (
                f"{own or 'main memory is too small'}: this process took up to {took}, there are "
                f"{as_text(main_memory.total_bytes())} for all: {_HOW_MEMORY}"
            )
        if number == errno.EADDRINUSE or "EADDRINUSE" in text:
            port = os.environ.get("MASTER_PORT", "of this run")
            return f"port {port} is taken on this machine by another process: {_HOW_PORT}"
    return None


def as_text(num_bytes: float) -> str:
    """Write bytes for people: 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.{0 if unit == 'B' else 1}f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def _shared_is_full(by_signal: bool) -> str:
    total = as_text(shutil.disk_usage(SHARED_MEMORY).total)
    other = " (or a file that it had mapped was cut short)" if by_signal else ""
    return (
        f"a loader process found {SHARED_MEMORY}, which has {total}, full{other}: give it more "
        f"({_HOW_SHARED})"
    )


def _no_room(number: int | None) -> str:
    if number == errno.EFBIG:
        return "a file would be larger than `ulimit -f` or the file system allows"
    return "the quota is used up" if number == errno.EDQUOT else "the disk is full"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that led to it."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _errno(error: BaseException) -> int | None:
    return error.errno if isinstance(error, OSError) else None


def _any(text: str, *words: str) -> bool:
    return any(word in text for word in words)
