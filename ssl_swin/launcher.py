"""Who started this process of a run, of which there may be several. Standard library only."""

import ctypes
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Literal

# Set for the processes that `ssl-swin` starts itself: the one that started them, by its number, and
# a folder that tells them which errors were said.
STARTED_BY, SAID = "SSL_SWIN_STARTED_BY", "SSL_SWIN_SAID"
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # in this order, as Lightning asks for them
# Lightning takes a job of such a name for a person at a terminal: every task believes to be rank 0.
TERMINAL_NAMES = ("bash", "interactive")
_PR_SET_PDEATHSIG = 1  # of Linux's prctl


def launcher(
    environment: Mapping[str, str] = os.environ,
) -> Literal["torchrun", "ssl-swin", "srun"] | None:
    """Return what started this process and tells it which of how many it is.

    torchrun comes first: srun may have started torchrun. None is a process alone, or one of those
    that somebody started by hand with `LOCAL_RANK` and its like.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        return "torchrun"
    if environment.get(STARTED_BY) == str(os.getppid()):
        return "ssl-swin"
    by_hand = environment.get("SLURM_JOB_NAME") in TERMINAL_NAMES
    return "srun" if "SLURM_NTASKS" in environment and not by_hand else None


def is_rank_0(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is the first of its run, as the environment says."""
    return next((environment[name] for name in _RANKS if name in environment), "0") == "0"


def num_cores(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Return the cores that this process may use, and those of all processes of its run here.

    SLURM may bind each task to cores of its own. Other launchers share theirs out among the
    processes that they start, each of which may be bound to some of them.
    """
    mine = len(os.sched_getaffinity(0))
    if launcher(environment) in ("torchrun", "ssl-swin"):
        with suppress(OSError):  # it is gone
            return mine, len(os.sched_getaffinity(os.getppid()))
    return mine, int(environment.get("SLURM_CPUS_ON_NODE", mine))


def end_with_parent() -> None:
    """Get SIGTERM when the process that started this one is gone, so that this one leaves, too."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def says_first(line: str) -> bool:
    """Whether no other process that `ssl-swin` started with this one has said the same line."""
    folder = os.environ.get(SAID)
    if folder is None or launcher() != "ssl-swin":
        return True
    try:
        (Path(folder) / sha256(line.encode()).hexdigest()).touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:
        pass
    return True
