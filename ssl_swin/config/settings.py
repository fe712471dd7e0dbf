"""What all settings share: how they are declared, checked, flattened and compared.

The default of a new setting is what was done before there was one. Runs that began without it then
go on as they were.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass
from typing import Any

from ssl_swin.errors import UserError

# Marks a layout setting: it changes how a run is spread, how fast it is or what it writes, and no
# number that it learns. A run may go on with another value.
LAYOUT: Mapping[str, Any] = {"layout": True}

# Settings that configs of earlier releases still hold: old name -> name today, and those that are
# gone and changed no number.
RENAMED: dict[str, str] = {}
REMOVED: frozenset[str] = frozenset()


def layout_setting(default: Any) -> Any:
    """Declare a layout setting that has a default."""
    return field(default=default, metadata=LAYOUT)


def require(holds: bool, message: str) -> None:
    """Raise UserError with the message unless it holds."""
    if not holds:
        raise UserError(message)


# what a value must do -> whether it does
_RULES: dict[str, Callable[[float], bool]] = {
    "be greater than 0": lambda value: value > 0,
    "be 0 or more": lambda value: value >= 0,
    "lie in [0, 1]": lambda value: 0 <= value <= 1,
}


def require_all(rule: str, section: str, config: Any, *names: str) -> None:
    """Refuse settings of a section that break a rule, of those that are not None."""
    for name in names:
        value = getattr(config, name)
        require(value is None or _RULES[rule](value), f"{section}.{name}={value} must {rule}")


def flatten(config: Any) -> dict[str, Any]:
    """Return a config as one flat dict with dotted names and values as in YAML."""
    return {name: _plain(value) for name, _, value, _ in _walk(config)}


def differences(stored: Mapping[str, Any], config: Any) -> dict[str, tuple[Any, Any]]:
    """Return what a config changes of the numbers of a run: name -> (before, now).

    `stored` is what `flatten` returned when the run began, perhaps in an earlier release. A setting
    that it lacks had the default.
    """
    before = {RENAMED.get(name, name): stored[name] for name in stored if name not in REMOVED}
    changed = {}
    for name, is_layout, value, default in _walk(config):
        old, now = before.pop(name, _plain(default)), _plain(value)
        if not is_layout and _numbers(old, value) != _numbers(now, value):
            changed[name] = (old, now)
    return changed | {name: (old, None) for name, old in before.items()}


def _walk(config: Any, defaults: Any = None, prefix: str = "") -> Iterator[tuple]:
    """Yield of each setting: name, whether it is a layout setting, value, default."""
    for one in fields(config):
        name, value = prefix + one.name, getattr(config, one.name)
        default = _default(one) if defaults is None else getattr(defaults, one.name)
        if is_dataclass(value):
            yield from _walk(value, default, f"{name}.")
        else:
            yield name, "layout" in one.metadata, value, default


def _numbers(plain: Any, value: Any) -> Any:
    """Return what of a plain value changes numbers: of `data.sets` the weights, not the places."""
    items = value if isinstance(value, tuple) and isinstance(plain, list) else ()
    layout = {
        one.name for item in items if is_dataclass(item) for one in fields(item) if one.metadata
    }
    return [{k: v for k, v in one.items() if k not in layout} for one in plain] if layout else plain


def _default(one: Field) -> Any:
    if one.default_factory is not MISSING:
        return one.default_factory()
    return None if one.default is MISSING else one.default


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
