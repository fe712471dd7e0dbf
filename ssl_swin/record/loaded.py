"""What became of each tensor of the weights that a run began with: `loaded.json`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ssl_swin.record.lines import read_json, write_text
from ssl_swin.record.run_folder import RunFolder

CAME = ("loaded", "remapped", "resized", "dropped", "missing")  # what may become of a tensor


@dataclass(frozen=True)
class Loaded:
    """What was taken from a file, by name."""

    source: str
    """The file or folder, as it was given."""
    kind: str
    """What it is, such as "timm's Swin"."""
    named: dict[str, list[str]]
    """The names of `CAME`, what of the file or the network is there; each may be empty."""
    remarks: list[str]
    """What else was done, a line each."""

    @property
    def told(self) -> str:
        """Say in one line how many tensors came to what."""
        counts = (f"{len(self.named[what]):,d} {what}" for what in CAME if self.named[what])
        return f"{self.kind}: {', '.join(counts)}"


def write_loaded(folder: RunFolder, found: Mapping[str, Any]) -> None:
    """Write `loaded.json`, of plain values under the names of `Loaded`, with those of `CAME`."""
    write_text(folder.loaded, json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def read_loaded(folder: RunFolder) -> Loaded | None:
    """Return what a run began with; None if it took no weights, or does not tell."""
    found = read_json(folder.loaded)
    if not isinstance(found.get("kind"), str):
        return None
    named = {what: _names(found.get(what)) for what in CAME}
    return Loaded(str(found.get("source")), found["kind"], named, _names(found.get("remarks")))


def _names(found: Any) -> list[str]:
    """Return names; a pair, of one in the file and one in the network, as one line."""
    many = found if isinstance(found, list) else []
    return [" -> ".join(map(str, one)) if isinstance(one, list) else str(one) for one in many]
