"""How much main memory there is for this process, and how much it took. Standard library only.

A job may have less than its machine: the limits of its control groups count, in both versions.
"""

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PROC, _GROUPS = Path("/proc"), Path("/sys/fs/cgroup")


class _Group(NamedTuple):
    """A control group of this process that limits memory, bytes."""

    limit: int
    used: int  # without files that are only kept there until others need the room


def total_bytes() -> int:
    """Return what this machine has, or a job's limit if that is less."""
    return min(_in_proc("meminfo", "MemTotal"), *(group.limit for group in _groups()))


def available_bytes() -> int:
    """Return what this process and those beside it may still take."""
    left = (group.limit - group.used for group in _groups())
    return max(0, min(_in_proc("meminfo", "MemAvailable"), *left))


def resident_bytes() -> int:
    """Return what this process has in main memory now."""
    return _in_proc("self/status", "VmRSS")


def peak_resident_bytes() -> int:
    """Return the most that this process has had in main memory at once.

    `ru_maxrss` may count what a process had before it became this program, so it comes second.
    """
    found = _in_proc("self/status", "VmHWM")
    return found or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _in_proc(file: str, name: str) -> int:
    """Return what a line `NAME: NUMBER kB` of the kernel says, 0 if there is none."""
    for line in _text(_PROC / file).splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _groups() -> Iterator[_Group]:
    """Yield the control groups around this process that have a limit, and one without any."""
    yield _Group(limit=2**63, used=0)
    for line in _text(_PROC / "self/cgroup").splitlines():
        _, kinds, place = line.split(":", 2)
        if not kinds:  # version 2
            root, limit, used, prefix = _GROUPS, "memory.max", "memory.current", ""
        elif "memory" in kinds.split(","):
            root, prefix = _GROUPS / "memory", "total_"
            limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        here = root / place.lstrip("/")
        # A container may not see the folders that lead to its own, which is then the root.
        for folder in (here, *here.parents[: len(here.parts) - len(root.parts)]):
            numbers = [_text(folder / name).strip() for name in (limit, used)]
            if all(number.isdigit() for number in numbers):
                most, taken = map(int, numbers)
                yield _Group(most, taken - _files(folder, prefix))


def _files(folder: Path, prefix: str) -> int:
    """Return how much of what a group uses holds files, for which others need not wait."""
    stat = dict(line.split(maxsplit=1) for line in _text(folder / "memory.stat").splitlines())
    return sum(int(stat.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
