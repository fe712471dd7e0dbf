"""Shows how far long work is, with images per second: a bar in a terminal, else a line at times."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ssl_swin.data.shards.one_maker import Teller
from ssl_swin.phases import duration, tell


class Count:
    """How many images are done; call it with how many more are."""

    def __init__(self, what: str, total: int | None, done: int, bar: Progress) -> None:
        self.what, self.total, self.done, self._first = what, total, done, done
        self._bar, self._teller = bar, Teller()
        self._task = bar.add_task(what, total=total, completed=done, rate="")
        self._began = self._last = time.monotonic()

    @property
    def rate(self) -> float:
        """Images per second, until the last of them."""
        return (self.done - self._first) / max(self._last - self._began, 1e-9)

    def __call__(self, num: int) -> None:
        """Count so many more, and show them if it is time."""
        self.done, self._last = self.done + num, time.monotonic()
        rate = f"{self.rate:,.0f} images/s"
        self._bar.update(self._task, completed=self.done, rate=rate)
        if self._bar.disable and self._teller.due():
            of = left = ""
            if self.total is not None:
                of = f" of {self.total:,}"
                left = f", {duration((self.total - self.done) / max(self.rate, 1e-9))} left"
            tell(f"{self.what}: {self.done:,}{of} images, {rate}{left}", sys.stderr)


@contextmanager
def counting(what: str, total: int | None, done: int = 0) -> Iterator[Count]:
    """Show how many images are done, and how fast; nothing is left of the bar at the end.

    Args:
        what: As "packing".
        total: Images in all; None if that is not known.
        done: Of these, those that were done before.
    """
    console = Console(stderr=True)
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    columns += [TextColumn("{task.fields[rate]}")]
    columns += [] if total is None else [TimeRemainingColumn()]
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        yield Count(what, total, done, bar)
