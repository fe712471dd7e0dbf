"""Ends a process whose Python stands still: timers of the system, which need no lock of Python's.

A clock goes on while a job is suspended, so its timer goes off as soon as the job goes on. Hence
there are two: when the first goes off, a thread of the C library sets an alarm. A Python that runs
calls that off, and winds up the first again; if it does not, the alarm writes the stacks of all
threads and ends the process by SIGALRM.
"""

import ctypes
import faulthandler
import math
import signal

STDERR = 2
_CLOCK_MONOTONIC = 1
_SIGEV_THREAD = 2


class _Event(ctypes.Structure):
    """`struct sigevent`: what happens when a timer goes off."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("function", ctypes.c_void_p),
        ("attributes", ctypes.c_void_p),
        ("rest", ctypes.c_byte * 32),
    )


class _Time(ctypes.Structure):
    """`struct itimerspec`: seconds and nanoseconds between repetitions, and to the first time."""

    _fields_ = tuple(
        (name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns")
    )


class LastResort:
    """Ends this process unless it is wound up again in time, however Python hangs.

    Raises:
        OSError: If the system has no such timers.
    """

    def __init__(self) -> None:
        self._system = _library()
        self._timer: ctypes.c_void_p | None = None
        self._grace_s = 0

    def wind_up(self, seconds: float, grace_s: float) -> None:
        """Call the alarm off; set it to `grace_s` when so many seconds have passed."""
        grace = math.ceil(grace_s)
        if self._timer is None or grace != self._grace_s:
            self.cancel()
            faulthandler.register(signal.SIGALRM, file=STDERR, all_threads=True, chain=True)
            self._timer, self._grace_s = self._make(grace), grace
        self._set(seconds)
        signal.alarm(0)

    def cancel(self) -> None:
        """End both timers."""
        if self._timer is None:
            return
        self._system.timer_delete(self._timer)
        self._timer = None
        signal.alarm(0)
        faulthandler.unregister(signal.SIGALRM)

    def _make(self, grace_s: int) -> ctypes.c_void_p:
        alarm = ctypes.cast(self._system.alarm, ctypes.c_void_p)  # takes seconds, in a register
        event = _Event(value=grace_s, notify=_SIGEV_THREAD, function=alarm)
        timer = ctypes.c_void_p()
        if self._system.timer_create(_CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)):
            raise OSError(ctypes.get_errno(), "timer_create")
        return timer

    def _set(self, seconds: float) -> None:
        whole = int(seconds)
        time = _Time(first_s=whole, first_ns=int(1e9 * (seconds - whole)))
        if self._system.timer_settime(self._timer, 0, ctypes.byref(time), None):
            raise OSError(ctypes.get_errno(), "timer_settime")


def _library() -> ctypes.CDLL:
    """Return the C library; before glibc 2.34 its timers were in one of their own."""
    found = ctypes.CDLL(None, use_errno=True)
    return found if hasattr(found, "timer_create") else ctypes.CDLL("librt.so.1", use_errno=True)
