"""The processes that share one extraction: which of them this one is, and whether others live.

They meet in a folder and nowhere else: each touches a file of its own there while it works. So any
launcher will do, no port is needed, and a process that is late or gone keeps none from its work.
"""

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ssl_swin.errors import MachineError
from ssl_swin.launcher import launcher
from ssl_swin.machine import usable_cores

BEAT_S = 2.0
SILENT_S = 60.0  # of a process that has begun: it is gone
LATE_S = 600.0  # of one that has not: it may be fetching weights
POLL_S = 1.0


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this one is, in all and on this machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> "Ranks":
        """Read it from what a launcher left in the environment."""
        names = {
            "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
            "ssl-swin": ("RANK", "WORLD_SIZE", "LOCAL_RANK", "WORLD_SIZE"),
            "srun": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", ""),
        }.get(launcher(environment) or "")
        if names is None or (names[-1] == "" and "SLURM_STEP_ID" not in environment):
            return cls()
        rank, size, local, local_size = (int(environment.get(name, 1)) for name in names)
        if not names[-1]:  # SLURM binds each task to cores of its own
            local_size = 1
        return cls(rank, size, local, local_size)

    @property
    def cores(self) -> int:
        """Cores for this process, if those of one machine are shared out."""
        return max(1, usable_cores() // self.local_world_size)


class Beats:
    """Signs of life of the processes that share the work in a folder."""

    def __init__(self, folder: Path, ranks: Ranks) -> None:
        self.folder, self.ranks = folder, ranks
        self._over = threading.Event()
        self._began_ns = 0

    def path(self, rank: int) -> Path:
        """Return the file that a process touches."""
        return self.folder / f"rank-{rank}"

    @contextmanager
    def beating(self) -> Iterator["Beats"]:
        """Touch the file of this process now and then, if there are others."""
        if self.ranks.world_size == 1:
            yield self
            return
        self._beat()
        self._began_ns = self.path(self.ranks.rank).stat().st_mtime_ns
        thread = threading.Thread(target=self._go_on, name="beats", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()

    def wait(self, done: Callable[[], bool], needed: Callable[[], set[int]]) -> None:
        """Wait until something is done by others.

        Silence is counted while this process runs and its storage answers: one that was suspended,
        with the others or without them, asks them anew.

        Args:
            done: Whether it is.
            needed: The processes that have to do it.

        Raises:
            MachineError: If one of them is gone, or does not begin.
        """
        last: dict[int, int] = {}  # rank -> its latest beat
        silent_s: dict[int, float] = defaultdict(float)
        moved: set[int] = set()  # that were heard while this one waited
        before = time.monotonic()
        while not done():
            now = time.monotonic()
            passed, before = min(now - before, 2 * POLL_S), now
            for rank in needed():
                beat = self._last_ns(rank)
                if rank in last and last[rank] != beat:
                    moved.add(rank)
                silent_s[rank] = silent_s[rank] + passed if last.get(rank) == beat else 0.0
                last[rank] = beat
                begun = rank in moved or beat >= self._began_ns
                if silent_s[rank] > (SILENT_S if begun else LATE_S):
                    raise MachineError(_gone(rank, silent_s[rank], begun, self.folder))
            time.sleep(POLL_S)

    def _go_on(self) -> None:
        while not self._over.wait(BEAT_S):
            self._beat()

    def _beat(self) -> None:
        with suppress(OSError):  # the folder is gone; who writes there next says so
            self.path(self.ranks.rank).touch()

    def _last_ns(self, rank: int) -> int:
        try:
            return self.path(rank).stat().st_mtime_ns
        except OSError:
            return 0


def _gone(rank: int, silent_s: float, begun: bool, folder: Path) -> str:
    if begun:
        return (
            f"process {rank} has gone, or its machine: nothing was heard of it for {silent_s:.0f} "
            "s; what is done is kept, the same command goes on"
        )
    return (
        f"process {rank} has not begun within {silent_s:.0f} s: if it is on another machine, give "
        f"--cache-dir a folder that all of them see, as {folder} may not be; if a run is measured "
        "that goes on, it may have read newer weights; the same command goes on"
    )
