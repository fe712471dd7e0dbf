"""Sends the points of a run to a tracker of others, from a thread that may wait for a network."""

import textwrap
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from ssl_swin import errors, signals
from ssl_swin.phases import tell
from ssl_swin.record.owner import FolderGone, LostOwnership
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.tracking import Points, Sent
from ssl_swin.training.trackers import TRACKERS
from ssl_swin.training.trainer import is_rank_0

RETRY_S = 60.0  # between two tries while a tracker does not answer
END_S, HURRY_S = 30.0, 5.0  # a finished run waits so long at most; another, or after a signal
_LOOK_S = 0.1
_LONGEST = 160  # letters of what a tracker says of its network


class Follower(Logger):
    """Follows a run's `metrics.jsonl`: what stands there and was not sent yet is sent.

    So training waits for no network, nothing is kept in memory, and what a failure held up is sent
    once the tracker answers, be it in a later life.
    """

    version = ""

    def __init__(
        self, folder: RunFolder, tracker: str, kind: str, require_owner: Callable[[], None]
    ) -> None:
        super().__init__()
        self.folder, self.kind, self.require_owner = folder, kind, require_owner
        self._name, self._tracker = tracker, TRACKERS[tracker]()
        self._points, self._sent = Points(folder.metrics), Sent(folder, tracker)
        self._is_open = False
        self._why = ""  # it lacks points, if it does
        self._news, self._over = threading.Event(), threading.Event()
        self._ending: tuple[str, Mapping[str, float], int] = ("failed", {}, 0)
        self._thread: threading.Thread | None = None
        if is_rank_0():
            self._tracker.prepare(folder)

    @property
    def name(self) -> str:
        """The tracker's."""
        return self._name

    @property
    def is_whole(self) -> bool:
        """Whether the tracker has all of a finished run."""
        return self._sent.whole

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the first point brings the config, when the folder is this life's."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Note that there are points; they are read from the file."""
        if self._thread is None:
            # A daemon: where it hangs, the process leaves all the same.
            self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            self._thread.start()
        self._news.set()

    def end(self, status: str, found: Mapping[str, float], step: int) -> None:
        """Send the rest, what was found and how this life ended, and wait for that, not for long.

        `status` is as for `Tracker.end`; the life may have logged nothing.
        """
        if self._thread is None:
            return
        self._ending = status, found, step
        self._over.set()
        self._news.set()
        now = time.monotonic()
        patient = status == "finished" and not self._why
        until, heard = now + (END_S if patient else HURRY_S), False
        while self._thread.is_alive() and now < until:
            self._thread.join(_LOOK_S)
            now = time.monotonic()
            if signals.received() and not heard:
                until, heard = min(until, now + HURRY_S), True
        if self._thread.is_alive():
            self._tracker.drop()
        if self._why or self._thread.is_alive():
            why = self._why or "it does not answer"
            tell(
                f"warning: {self.name} lacks the last points of this run ({why}); the same "
                f"command sends them; {self.folder.metrics} has all"
            )

    def _run(self) -> None:
        """Send until the end; whatever a tracker or its network raises ends no run."""
        while True:
            self._news.wait()
            self._news.clear()
            is_last = self._over.is_set()
            try:
                self._send(is_last)
            except (LostOwnership, FolderGone):
                self._tracker.drop()
                return  # what stands there is another life's
            except Exception as error:
                why = textwrap.shorten(errors.one_line(error), _LONGEST, placeholder=" ...")
                if not self._why and not is_last:
                    tell(
                        f"warning: {self.name} cannot be sent to ({why}); training goes on, it is "
                        f"tried again, and {self.folder.metrics} has all"
                    )
                self._why, self._is_open = why or type(error).__name__, False
                self._tracker.drop()
                self._over.wait(RETRY_S)
                self._news.set()
            else:
                self._why = ""
            if is_last:
                return

    def _send(self, is_last: bool) -> None:
        self.require_owner()
        try:
            if not self._is_open:
                self._sent.write()  # the id, before anybody else knows it
                text = self.folder.config.read_text(encoding="utf-8")
                given = self.folder, self._sent, self.kind, yaml.safe_load(text)
                tell(f"{self.name}: {self._tracker.open(*given)}")
                self._is_open = True
            for point in self._points.new():
                if new := self._sent.unsent(point):
                    self._tracker.log(new, point["step"])
                    self._sent.note(new, point["step"])
            if is_last:
                self._tracker.end(*self._ending)
                self._sent.whole = self._ending[0] == "finished"
        finally:
            self._sent.write()
