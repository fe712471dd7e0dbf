"""Ends as it is told: `ranks.py DEVICES ACT ...`, an act for each rank; starts the ranks itself."""

import os
import signal
import sys
import time
from pathlib import Path

from ssl_swin import signals
from ssl_swin.cluster import own_ranks
from ssl_swin.launcher import launcher, says_first

own_ranks.PATIENCE_S, own_ranks.STOP_S = 0.5, 0.5


def main() -> int:
    """Be a rank, or start them."""
    signals.watch()
    if launcher() != "ssl-swin":
        return own_ranks.run_ranks(sys.argv[1:], int(sys.argv[1]))
    rank = int(os.environ["LOCAL_RANK"])
    if "HERE" in os.environ:
        Path(os.environ["HERE"], f"{rank}.{os.getpid()}").touch()
    return act(sys.argv[2 + rank])


def act(what: str) -> int:
    """Do what one word says."""
    if what == "early":  # as if its program had not begun
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
    if what == "deaf":
        signals.ignore()
    if what in ("early", "deaf", "hear"):
        while not signals.received():
            time.sleep(0.01)
        return 75
    if what == "say":
        if says_first("the same"):
            print("the same", file=sys.stderr)
        return 2
    if what.startswith("kill"):
        os.kill(os.getpid(), int(what[4:]))
    if what == "late":
        time.sleep(0.2)
        return 0
    return int(what)


if __name__ == "__main__":
    sys.exit(main())
