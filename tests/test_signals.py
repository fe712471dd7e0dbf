import os
import signal
import subprocess
import sys
import threading

import pytest

from ssl_swin import signals

WATCHED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in WATCHED}
    signals.forget()
    yield
    signals.forget()
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number):
    os.kill(os.getpid(), number)


def test_the_first_signal_counts_until_it_is_forgotten():
    signals.watch()
    assert signals.received() == 0
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1):
        send(number)
    assert signals.received() == signal.SIGUSR1
    signals.forget()
    assert signals.received() == 0


def test_only_a_second_ctrl_c_stops_at_once():
    signals.watch()
    send(signal.SIGTERM)
    send(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)


def test_a_loader_worker_leaves_signals_to_the_main_process():
    signals.watch()
    signals.ignore()
    for number in (*WATCHED, signal.SIGINT):
        send(number)
    assert signals.received() == 0


def test_watching_needs_the_standard_library_only():
    code = "import sys; before = set(sys.modules); import ssl_swin.signals as s; s.watch(); " + (
        "print([n for n in set(sys.modules) - before if n.partition('.')[0] in "
        "('torch', 'numpy', 'pytorch_lightning')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_a_signal_is_heard_while_a_library_keeps_the_main_thread():
    """Python's own handlers run only when the main thread does."""
    code = """
import ctypes, os, signal, threading
from ssl_swin import signals
signals.watch()
with signals.heard_at_once(lambda number: os._exit(number)):
    threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGUSR1]).start()
    ctypes.CDLL(None).pthread_mutex_lock(lock := ctypes.create_string_buffer(64))
    ctypes.CDLL(None).pthread_mutex_lock(lock)
"""
    found = subprocess.run([sys.executable, "-c", code], timeout=60)
    assert found.returncode == signal.SIGUSR1


def test_what_came_before_is_heard_too():
    told = threading.Event()
    signals.watch()
    send(signal.SIGTERM)
    with signals.heard_at_once(lambda _: told.set()):
        assert told.wait(60)


def test_the_end_of_listening_is_not_waited_for_when_a_forked_process_lives():
    """A loader process has a copy of all that was open when it began."""
    code = """
import os, signal
from ssl_swin import signals
signals.watch()
with signals.heard_at_once(print):
    child = os.fork()
    if not child:
        signal.pause()
print("left")
os.kill(child, signal.SIGKILL)
"""
    found = subprocess.run(
        [sys.executable, "-c", code], timeout=60, capture_output=True, check=True, text=True
    )
    assert found.stdout == "left\n"


def test_sigterm_interrupts_work_that_is_taken_up_again_and_nothing_after_it():
    signals.watch()
    with pytest.raises(KeyboardInterrupt), signals.as_interrupt():
        send(signal.SIGTERM)
    send(signal.SIGTERM)
    assert signals.received() == signal.SIGTERM


def test_in_another_thread_signals_stay_as_they_are():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with signals.as_interrupt():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
