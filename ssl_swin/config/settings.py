"""What all settings share: how they are declared, checked, flattened and compared."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import Any

from ssl_swin.errors import UserError

# Marks a layout setting: it changes how a run is spread, how fast it is or what it writes, and no
# number that it learns. A run may go on with another value.
LAYOUT: Mapping[str, Any] = {"layout": True}

# Settings of earlier releases that stored configs still hold: the name that each has today, and
# those that are gone without changing a number.
RENAMED: dict[str, str] = {}
REMOVED: frozenset[str] = frozenset()


def layout_setting(default: Any) -> Any:
    """Declare a layout setting that has a default."""
    return field(default=default, metadata=LAYOUT)


def require(holds: bool, message: str) -> None:
    """Raise UserError with the message unless it holds."""
    if not holds:
        raise UserError(message)


def require_positive(**values: float) -> None:
    """Refuse values, named with `__` for a dot, that are not greater than 0."""
    for name, value in values.items():
        require(value > 0, f"{name.replace('__', '.')}={value} must be greater than 0")


def require_share(**values: float) -> None:
    """Refuse values, named with `__` for a dot, outside [0, 1]."""
    for name, value in values.items():
        require(0 <= value <= 1, f"{name.replace('__', '.')}={value} must lie in [0, 1]")


@dataclass(frozen=True)
class Setting:
    """One value of a config.

    Attributes:
        name: With dots: `data.num_workers`.
        value: As in YAML: a tuple is a list, an inner dataclass a dict.
        default: What holds where the setting is not given; None if it must be.
        layout: Whether it is a layout setting.
        inner_layout: Of a tuple of dataclasses: the names of their layout settings.
    """

    name: str
    value: Any
    default: Any
    layout: bool
    inner_layout: frozenset[str]

    def numbers(self, value: Any) -> Any:
        """Return what of a value of this setting changes numbers."""
        if not self.inner_layout or not isinstance(value, list):
            return value
        return [{k: v for k, v in item.items() if k not in self.inner_layout} for item in value]


def settings(config: Any, defaults: Any = None, prefix: str = "") -> Iterator[Setting]:
    """Walk the fields of a config, and of the dataclasses in it.

    Args:
        config: A dataclass.
        defaults: Another of its class that gives the defaults; None for those of the fields.
        prefix: What names begin with.
    """
    for one in fields(config):
        value = getattr(config, one.name)
        default = _default(one) if defaults is None else getattr(defaults, one.name)
        if is_dataclass(value):
            yield from settings(value, default, f"{prefix}{one.name}.")
            continue
        inner = (inside for item in _items(value) for inside in fields(item))
        yield Setting(
            prefix + one.name,
            _plain(value),
            _plain(default),
            _is_layout(one),
            frozenset(inside.name for inside in inner if _is_layout(inside)),
        )


def flatten(config: Any) -> dict[str, Any]:
    """Return a config as one flat dict with dotted names and values as in YAML."""
    return {one.name: one.value for one in settings(config)}


def differences(stored: Mapping[str, Any], config: Any) -> dict[str, tuple[Any, Any]]:
    """Return what a config changes of the numbers of a run: name -> (before, now).

    Args:
        stored: What `flatten` returned when the run began, perhaps in an earlier release. A setting
            that it lacks had the default.
        config: The config of today.
    """
    before = {RENAMED.get(name, name): stored[name] for name in stored if name not in REMOVED}
    changed = {}
    for one in settings(config):
        old = before.pop(one.name, one.default)
        if not one.layout and one.numbers(old) != one.numbers(one.value):
            changed[one.name] = (old, one.value)
    return changed | {name: (old, None) for name, old in before.items()}


def _default(one: Field) -> Any:
    if one.default_factory is not MISSING:
        return one.default_factory()
    return None if one.default is MISSING else one.default


def _is_layout(one: Field) -> bool:
    return bool(one.metadata.get("layout"))


def _items(value: Any) -> list[Any]:
    """Return the dataclasses in a tuple."""
    return [item for item in value if is_dataclass(item)] if isinstance(value, tuple) else []


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
