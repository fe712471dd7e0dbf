"""Shows how many images are classified: a bar in a terminal, lines elsewhere, on standard error."""

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType

from rich import progress
from rich.console import Console

from ssl_swin.evaluation.classify import Answers
from ssl_swin.phases import duration

PLAIN_EVERY_S = 30.0  # between lines where there is no terminal


class ImageProgress:
    """Counts images from `done` to `total`; a context manager."""

    def __init__(self, total: int, done: int = 0) -> None:
        self.total, self.done, self._first = total, done, done
        self._began = self._last = self._plain_at = time.monotonic()
        self._bar: progress.Progress | None = None

    @property
    def rate(self) -> float:
        """Images per second, until the last of them."""
        return (self.done - self._first) / max(self._last - self._began, 1e-9)

    def __enter__(self) -> "ImageProgress":
        self._began = self._last = self._plain_at = time.monotonic()
        console = Console(stderr=True)
        if console.is_terminal:
            self._bar = progress.Progress(
                progress.TextColumn("classifying"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[text]}"),
                progress.TextColumn("left"),
                progress.TimeRemainingColumn(),
                console=console,
            )
            self._task = self._bar.add_task("", total=self.total, completed=self.done, text="")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def over(self, answers: Iterable[Answers]) -> Iterator[Answers]:
        """Yield what a classifier says, batch by batch, and count each once it has been used."""
        for one in answers:
            yield one
            self._advance(len(one.index))

    def _advance(self, num: int) -> None:
        self.done, self._last = self.done + num, time.monotonic()
        text = f"{self.rate:.0f} images/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, text=text)
        elif self._last - self._plain_at >= PLAIN_EVERY_S:
            self._plain_at = self._last
            left = duration((self.total - self.done) / self.rate)
            line = f"{self.done:,} of {self.total:,} images  {text}  {left} left"
            print(line, file=sys.stderr, flush=True)
