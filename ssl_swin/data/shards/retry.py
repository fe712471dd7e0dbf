"""How patiently storage is asked again when it fails. Standard library only."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Retry:
    """How often and how patiently a place is asked again."""

    num_tries: int = 10
    """Tries in a row that bring nothing before an error is final."""
    first_wait_s: float = 1.0
    """Seconds after the first failure; each wait is twice the one before."""
    longest_wait_s: float = 30.0
    """Seconds no wait exceeds."""
    stalled_s: float = 60.0
    """Seconds without a byte until an HTTP connection is dead; other storage has its own."""
    sleep: Callable[[float], None] = time.sleep

    def wait(self, num_failed: int) -> None:
        """Wait as long as is due after so many failures in a row."""
        self.sleep(self._wait_s(num_failed))

    @property
    def patience_s(self) -> float:
        """Seconds until an error is final if every try stalls."""
        waits_s = sum(self._wait_s(num_failed) for num_failed in range(1, self.num_tries))
        return self.num_tries * self.stalled_s + waits_s

    def _wait_s(self, num_failed: int) -> float:
        return min(self.longest_wait_s, self.first_wait_s * 2 ** (num_failed - 1))
