"""One life owns a run folder: the one that started last. Older ones may no longer write.

Two lives can run at once: SLURM gives up a node that still runs, or a user starts a run twice. So
each life looks who the owner is before it puts a file in place, and in between from a thread.
"""

import json
import os
import secrets
import socket
from pathlib import Path
from typing import Any

from ssl_swin.files import named
from ssl_swin.record.lines import read_json, write_text

NUM_LOOKS = 6  # of a thread, before a folder that is not there counts as gone


class LostOwnership(RuntimeError):
    """A newer life owns the run folder."""


class FolderGone(OSError):
    """The run folder is not where this life began; it was moved, or its file system is away."""


class Ownership:
    """This life's claim to a run folder.

    A newer life may claim the folder between the last look and the rename. Then the older life's
    checkpoint stays until the newer life saves; it is a right checkpoint of the same run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text: str | None = None
        self._num_missing = 0  # looks in a row that found no owner

    def claim(self, facts: dict[str, Any]) -> str:
        """Claim the folder, on rank 0, and return what the other ranks `follow`.

        The `facts` tell readers who the owner is: life, job, restart.

        Raises:
            LostOwnership: If SLURM gave this start up, and a later one of the job is the owner.
        """
        owner = self._owner()
        same_job = facts.get("job") is not None and owner.get("job") == facts["job"]
        if same_job and (owner.get("restart") or 0) > (facts.get("restart") or 0):
            raise LostOwnership(self.describe_loss())
        host, pid = socket.gethostname(), os.getpid()
        mine = {"token": secrets.token_hex(8), **facts, "host": host, "pid": pid}
        text = json.dumps(mine) + "\n"
        write_text(self.path, text)
        self._text = text
        return text

    def follow(self, text: str) -> None:
        """Belong to the life that rank 0 claimed the folder for."""
        self._text = text

    def is_lost(self) -> bool:
        """Return whether another life has claimed the folder, as far as can be read."""
        try:
            self.require()
        except LostOwnership:
            return True
        except OSError:
            pass  # the next look may succeed; before a write, `require` raises this
        return False

    def is_gone(self) -> bool:
        """Return whether the folder is gone: several looks in a row found none.

        A network's file system may not show a file that another machine has just made.
        """
        try:
            self.require()
        except FolderGone:
            self._num_missing += 1
        except (LostOwnership, OSError):
            pass  # it is there, or cannot be read now
        else:
            self._num_missing = 0
        return self._num_missing >= NUM_LOOKS

    def require(self) -> None:
        """Raise unless this life owns the folder, or has not claimed it yet.

        Raises:
            LostOwnership: If a newer life owns the folder.
            FolderGone: If the folder, or the file that names its owner, is not there.
            OSError: If that cannot be read.
        """
        if self._text is None:
            return
        found = self._read()
        if found is None:
            raise FolderGone(self.describe_absence())
        if found != self._text:
            raise LostOwnership(self.describe_loss())

    def describe_absence(self) -> str:
        """Return one line that says that the folder is gone."""
        return (
            f"{self.path} is not there any more: the run folder was moved or deleted while the run "
            "went on, or its file system is away; this life leaves and writes nothing more there. "
            "The same command goes on once the folder is back; of a moved one give the new run_dir"
        )

    def describe_loss(self) -> str:
        """Return one line that says who the owner is."""
        return (
            f"{self.path.parent} now belongs to a life that started later: {self._read()!s:.300}; "
            "this one leaves and writes nothing more there"
        ).replace("\n", "")

    def _owner(self) -> dict[str, Any]:
        try:
            owner = json.loads(self._read() or "{}")
        except json.JSONDecodeError:
            return {}
        return owner if isinstance(owner, dict) else {}

    def _read(self) -> str | None:
        try:
            with named(self.path):
                return self.path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None


def lives_here(owner: Path) -> bool:
    """Whether the process that an `owner.json` names lives, as far as this machine can tell."""
    facts = read_json(owner)
    if facts.get("host") != socket.gethostname():
        return False
    try:
        os.kill(int(facts["pid"]), 0)
    except PermissionError:
        return True  # another user's
    except (OSError, KeyError, TypeError, ValueError):
        return False
    return True
