"""One life owns a run folder: the one that started last; an older one may write no more.

An old life can outlive its job: cut off from the network and given up by SLURM, or started twice
by mistake. It looks before each file it puts in place, and once in a while from a thread.
"""

import json
import os
import secrets
import socket
from pathlib import Path
from typing import Any

from ssl_swin.record.lines import write_text


class LostOwnership(RuntimeError):
    """A newer life owns the run folder."""


class Ownership:
    """This life's claim to a run folder.

    What remains possible: a newer life may claim the folder between the last look and the rename.
    Then a checkpoint of the older stands until the newer one's next; it is one of the same run.

    Args:
        path: The run folder's `owner.json`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text: str | None = None

    def claim(self, facts: dict[str, Any]) -> str:
        """Take the folder over, on rank 0, and return what the other ranks `follow`.

        Args:
            facts: What a reader should know of the owner: life, job, restart.

        Raises:
            LostOwnership: If a later start of the same job owns the folder: this one was given up
                while it began.
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
        """Belong to the life that rank 0 has made the owner."""
        self._text = text

    def is_lost(self) -> bool:
        """Whether another life has taken the folder over since the claim, as far as one can see."""
        try:
            self.require()
        except LostOwnership:
            return True
        except OSError:
            pass  # the next look may succeed; a write will not do without
        return False

    def require(self) -> None:
        """Go on only as the owner; before the claim, and without an owner, everybody may.

        Raises:
            LostOwnership: If a newer life owns the folder.
            OSError: If that cannot be read.
        """
        if self._text is not None and self._read() not in (self._text, None):
            raise LostOwnership(self.describe_loss())

    def describe_loss(self) -> str:
        """Return one line on who the owner is."""
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
            return self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
