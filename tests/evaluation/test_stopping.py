import os
import signal
import subprocess
import sys

import pytest

from ssl_swin.evaluation.stopping import stops_at_once

WAITS = """
import os, signal, time
from ssl_swin.evaluation.stopping import stops_at_once
with stops_at_once(lambda: "3 of 5 are saved"):
    os.kill(os.getpid(), signal.{name})
    time.sleep(600)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_it_at_once_with_a_word(name):
    command = [sys.executable, "-c", WAITS.format(name=name)]
    left = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert left.returncode == 75
    assert left.stderr == f"stopped by {name}: 3 of 5 are saved\n"


def test_it_ends_if_nobody_reads_the_word():
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-c", WAITS.format(name="SIGTERM")]
    left = subprocess.run(command, stderr=writes, timeout=120, check=False)
    os.close(writes)
    assert left.returncode == 75


def test_a_terminal_gets_back_the_cursor_that_a_bar_has_hidden():
    terminal, writes = os.openpty()
    command = [sys.executable, "-c", WAITS.format(name="SIGINT")]
    left = subprocess.run(command, stderr=writes, timeout=120, check=False)
    assert left.returncode == 75
    assert os.read(terminal, 1000).startswith(b"\x1b[?25hstopped by SIGINT")
    os.close(writes)
    os.close(terminal)


def test_afterwards_signals_do_what_they_did_before():
    earlier = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with stops_at_once(str):
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, earlier)
