"""Asks storage again when it fails: how patiently, and the one loop. Standard library only."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Answer = TypeVar("Answer")
Failure = TypeVar("Failure", bound=Exception)


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

    def run(
        self,
        ask: Callable[[], Answer],
        kind: type[Failure],
        passes: Callable[[Failure], bool],
        moved: Callable[[], bool] = lambda: False,
        final: Callable[[Failure, int], Exception] | None = None,
    ) -> Answer:
        """Ask until an answer comes.

        Args:
            ask: One try.
            kind: The errors that mean that a try failed; others are raised at once.
            passes: Whether another try may do better after such an error.
            moved: Whether a try that failed brought something all the same; the failures in a row
                are then counted anew.
            final: Makes the error to raise of the last one and of the number of failures in a row;
                None means the last one itself.
        """
        num_failed = 0
        while True:
            try:
                return ask()
            except kind as error:
                num_failed = 1 if moved() else num_failed + 1
                if not passes(error) or num_failed >= self.num_tries:
                    if final is None:
                        raise
                    raise final(error, num_failed) from error
            self.sleep(self._wait_s(num_failed))

    @property
    def patience_s(self) -> float:
        """Seconds until an error is final if every try stalls."""
        waits_s = sum(self._wait_s(num_failed) for num_failed in range(1, self.num_tries))
        return self.num_tries * self.stalled_s + waits_s

    def _wait_s(self, num_failed: int) -> float:
        return min(self.longest_wait_s, self.first_wait_s * 2 ** (num_failed - 1))
