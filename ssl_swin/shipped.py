"""What is shipped beside the code, found from any folder: configs, batch scripts, demo images."""

import os
import re
from pathlib import Path

FOLDERS = ("configs", "slurm", "data/fashion-mnist-sample")
IN_WHEEL = "_shipped"  # where setup.py puts them; in a checkout they lie beside the package


def shipped(*parts: str) -> Path:
    """Return where something is shipped, whether it is there or not."""
    package = Path(__file__).parent
    in_wheel = package / IN_WHEEL
    return (in_wheel if in_wheel.is_dir() else package.parent).joinpath(*parts)


def or_shipped(path: str) -> str:
    """Return a relative path or pattern as it is, or its shipped place if only there is something.

    That counts for `data/fashion-mnist-sample/...` and the like; whatever lies here goes first.
    """
    before_pattern = re.split(r"[{*?\[]", path)[0]
    whole = before_pattern == path or os.path.exists(path)
    place = path if whole else os.path.dirname(before_pattern)
    known = any(place == folder or place.startswith(f"{folder}/") for folder in FOLDERS)
    if not known or os.path.exists(place) or not shipped(place).exists():
        return path
    return str(shipped(path))
