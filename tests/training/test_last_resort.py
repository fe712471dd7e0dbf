"""The timer that ends a process whose Python stands still, and no other."""

import os
import signal
import subprocess
import sys
import time

from tests.training.stops import state_of

BEGIN = """
import ctypes, os, signal, sys, time
from ssl_swin.training.last_resort import LastResort
timer = LastResort()
"""
HANGS = """
def where_it_hangs():
    ctypes.PyDLL(None).sleep(600)  # and keeps Python's lock
timer.wind_up(0.1, 0.1)
where_it_hangs()
"""
IS_SUSPENDED = """
timer.wind_up(0.5, 20)
os.kill(os.getpid(), signal.SIGSTOP)
for _ in range(20):
    time.sleep(0.01)
    timer.wind_up(0.5, 20)
timer.cancel()
"""
IS_CANCELLED = """
for _ in range(3):
    timer.wind_up(0.01, 0.1)
    timer.cancel()
assert signal.alarm(0) == 0
"""


def begin(code: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", BEGIN + code], stderr=subprocess.PIPE, text=True)


def test_a_process_that_hangs_with_python_s_lock_ends_and_says_where():
    process = begin(HANGS)
    _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGALRM
    assert "where_it_hangs" in said


def test_a_process_that_was_suspended_for_longer_goes_on():
    process = begin(IS_SUSPENDED)
    while state_of(process.pid) != "T":
        time.sleep(0.01)
    time.sleep(1)  # the first stage goes off
    os.kill(process.pid, signal.SIGCONT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")


def test_what_is_cancelled_never_goes_off():
    process = begin(IS_CANCELLED)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")
