"""What became of each tensor of a file on its way into an encoder, by name."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

_FEW = 8  # names that are listed in full


@dataclass(frozen=True)
class Report:
    """What was recognised in a file, and what went where."""

    kind: str
    """What it is, such as "timm's Swin"."""
    where: str = ""
    """What stands in the file before the names of the encoder's tensors."""
    loaded: tuple[str, ...] = ()
    """Names in the encoder of what it has from the file."""
    remapped: tuple[tuple[str, str], ...] = ()
    """Of these, those that the file calls otherwise: name there, name in the encoder."""
    resized: tuple[str, ...] = ()
    """Names in the encoder of what is learned of places, and was made to fit its windows."""
    dropped: tuple[str, ...] = ()
    """Names in the file of what is no part of the encoder, but for buffers made of its sizes."""
    missing: tuple[str, ...] = ()
    """Names in the encoder of what the file lacks, and which stays as it starts."""
    remarks: tuple[str, ...] = ()
    """What else was done, a line each."""

    @property
    def told(self) -> str:
        """Say in one line what is taken from a file."""
        under = f" under {self.where!r}" if self.where else ""
        if not self.loaded:
            return f"{self.kind}{under}"
        out = f"{len(self.dropped)} left out" if self.dropped else "none left out"
        named = f" ({_listed(self.dropped)})" if self.dropped else ""
        counted = (("resized", self.resized), ("missing", self.missing))
        rest = "".join(f", {len(n)} {what} ({_listed(n)})" for what, n in counted if n)
        rest += "".join(f", {one}" for one in self.remarks)
        return f"{self.kind}{under}, {len(self.loaded)} tensors taken, {out}{named}{rest}"

    @property
    def says_more(self) -> bool:
        """Whether there is more to say than that all was loaded."""
        parts = (self.remapped, self.resized, self.dropped, self.missing, self.remarks)
        return any(parts)

    def plain(self, source: str) -> dict[str, Any]:
        """Return all of it as plain values, with the source, for a run's `loaded.json`."""
        return {"source": source} | asdict(self)

    def lines(self, source: str) -> list[str]:
        """Say what was loaded, remapped, resized, dropped and missing, a line each that there is.

        Few names are listed in full, of many the first. The first line begins with the source.
        """
        under = f" under {self.where!r}" if self.where else ""
        parts = [
            ("remapped", [f"{theirs} -> {ours}" for theirs, ours in self.remapped], ""),
            ("resized", self.resized, ""),
            ("dropped", self.dropped, ""),
            ("missing", self.missing, ", as it starts" if len(self.missing) == 1 else ""),
        ]
        said = [f"{source}: {self.kind}{under}: {len(self.loaded)} tensors loaded"]
        said += [f"  {what} {len(n)}: {_listed(n)}{more}" for what, n, more in parts if n]
        return said + [f"  {one}" for one in self.remarks]


def renamed(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Leave out of (name there, name here) what ends alike: only what stands before it differs."""
    return tuple((theirs, ours) for theirs, ours in pairs if not _same(theirs, ours))


def _same(theirs: str, ours: str) -> bool:
    bare = ours.removeprefix("backbone.")
    return f".{theirs}".endswith(f".{bare}")


def _listed(names: Collection[str]) -> str:
    shown = [*names] if len(names) <= _FEW else [*names][:3]
    return ", ".join(shown) + (", ..." if len(shown) < len(names) else "")
