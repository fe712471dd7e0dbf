"""The settings of a run, as its folder tells them to whoever only looks at it."""

from collections.abc import Iterator
from typing import Any

import yaml

from ssl_swin.files import named
from ssl_swin.record.lines import MISSING
from ssl_swin.record.run_folder import RunFolder


def read_config(folder: RunFolder) -> dict[str, Any]:
    """Return the settings of a run under dotted names; none if its config is missing or damaged.

    Raises:
        OSError: If the storage fails.
    """
    try:
        found = yaml.safe_load(_text(folder))
    except yaml.YAMLError:
        return {}
    return dict(_flat(found)) if isinstance(found, dict) else {}


def has_classes(folder: RunFolder) -> bool:
    """Say whether its config is that of a fine-tuning, even one that is cut off.

    Raises:
        OSError: If the storage fails.
    """
    return "num_classes:" in _text(folder)


def _text(folder: RunFolder) -> str:
    try:
        with named(folder.config):
            return folder.config.read_text(encoding="utf-8", errors="replace")
    except MISSING:
        return ""


def _flat(settings: dict[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
