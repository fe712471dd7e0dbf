"""Shows how far long work is, with images per second: a bar in a terminal, else a line at times."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ssl_swin.data.shards.one_maker import Teller

Count = Callable[[int], None]
"""Takes how many more are done."""


@contextmanager
def counting(what: str, total: int | None, done: int = 0) -> Iterator[Count]:
    """Show how many images are done, and how fast; nothing is left of the bar at the end.

    Args:
        what: As "packing".
        total: Images in all; None if that is not known.
        done: Of these, those that were done before.
    """
    console = Console(stderr=True)
    begun, teller, now = time.monotonic(), Teller(), done
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate()]
    columns += [] if total is None else [TimeRemainingColumn()]
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=total, completed=done)

        def count(num: int) -> None:
            nonlocal now
            now += num
            bar.advance(task, num)
            if not console.is_terminal and teller.due():
                rate = (now - done) / max(1e-9, time.monotonic() - begun)
                of = "" if total is None else f" of {total:,}"
                print(
                    f"{what}: {now:,}{of} images, {rate:,.0f} images/s", file=sys.stderr, flush=True
                )

        yield count


class _Rate(ProgressColumn):
    """Images per second, of the last half minute."""

    def render(self, task: Task) -> Text:
        """Return the column's text."""
        return Text("" if task.speed is None else f"{task.speed:,.0f} images/s")
