"""Pictures of runs, made small enough for a page: as data URIs, within a budget of bytes."""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ssl_swin.record.run_folder import RunFolder

BUDGET_BYTES = 6_500_000  # of all pictures of a page; as text they are a third larger
WIDEST = 1400  # pixels
QUALITY = 80  # of JPEG, per cent
MOST_PANELS = 24  # of a run


@dataclass(frozen=True)
class Picture:
    """A picture of a run."""

    name: str  # of the file, without its ending
    uri: str
    width: int
    height: int


class Album:
    """Takes pictures until the budget is spent; counts what it had to leave out."""

    def __init__(self, budget: int = BUDGET_BYTES) -> None:
        self.left = budget
        self.num_left_out = 0
        self.num_damaged = 0

    def add(self, path: Path) -> Picture | None:
        """Return a picture, None if it is damaged or does not fit any more."""
        try:
            with Image.open(path) as image:
                small = image.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            self.num_damaged += 1  # it may be half written
            return None
        if small.width > WIDEST:
            small = small.resize((WIDEST, round(small.height * WIDEST / small.width)))
        file = io.BytesIO()
        small.save(file, "JPEG", quality=QUALITY, optimize=True, progressive=True)
        content = file.getvalue()
        if len(content) > self.left:
            self.num_left_out += 1
            return None
        self.left -= len(content)
        uri = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
        return Picture(path.stem, uri, *small.size)


def panels(
    folders: Iterable[RunFolder], album: Album
) -> dict[RunFolder, tuple[list[Picture], int]]:
    """Return panels of each run, by step, and how many it has; the last of each run go first."""
    there = {folder: sorted(folder.panel(0).parent.glob("step-*.png")) for folder in folders}
    wanted = {folder: by_worth(paths) for folder, paths in there.items()}
    taken: dict[RunFolder, dict[Path, Picture]] = {folder: {} for folder in there}
    for place in range(max(map(len, wanted.values()), default=0)):
        for folder, paths in wanted.items():
            if place < len(paths) and (picture := album.add(paths[place])):
                taken[folder][paths[place]] = picture
    return {
        folder: ([found[path] for path in sorted(found)], len(there[folder]))
        for folder, found in taken.items()
    }


def findings(folder: RunFolder, album: Album) -> list[Picture]:
    """Return what a fine-tuning draws beside no step: confusion and worst mistakes."""
    paths = sorted(folder.panel(0).parent.glob("*.png"))
    found = [album.add(path) for path in paths if not path.name.startswith("step-")]
    return [picture for picture in found if picture is not None]


def by_worth(paths: list[Path]) -> list[Path]:
    """Put the last first, then the first, then whatever lies in the middle of the widest gap."""
    if len(paths) < 2:
        return paths
    places, gaps = [len(paths) - 1, 0], [(0, len(paths) - 1)]
    while gaps and len(places) < MOST_PANELS:
        low, high = gaps.pop(0)  # gaps are halved in turn, so none is much wider than another
        if high - low > 1:
            middle = (low + high) // 2
            places.append(middle)
            gaps += [(low, middle), (middle, high)]
    return [paths[place] for place in places]
