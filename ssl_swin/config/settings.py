"""What all settings share: how they are declared, checked, flattened and compared.

A setting that is newer than some runs says with its field what these did; see `newer_setting`.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass, replace
from typing import Any, NamedTuple, TypeVar

from ssl_swin.config.earlier import renew_stored
from ssl_swin.errors import UserError

# Marks a layout setting: it changes how a run is spread, how fast it is or what it writes, and no
# number that it learns. A run may go on with another value.
LAYOUT: Mapping[str, Any] = {"layout": True}
_BEFORE = "before"  # marks what runs did that are older than a default

T = TypeVar("T")


def layout_setting(default: Any) -> Any:
    """Declare a layout setting that has a default."""
    return field(default=default, metadata=LAYOUT)


def newer_setting(default: Any, before: Any, layout: bool = False) -> Any:
    """Declare a setting that is newer than some runs, or whose default is.

    A run that began with `before`, or without the setting, goes on with `before`, unless the user
    gives another value, which is then a difference. Where the default does what was always done,
    plain `= default` is enough.
    """
    return field(default=default, metadata={_BEFORE: before, **(LAYOUT if layout else {})})


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


def require_filled(prefix: str, config: Any, *names: str) -> None:
    """Refuse a name or path that is empty, as one of a variable that is not set."""
    for name in names:
        require(
            getattr(config, name) != "",
            f"{prefix}{name}='' is empty; give what it is to be, or leave it out",
        )


def require_finite(config: Any) -> None:
    """Refuse a number that is infinite or none, anywhere in a config but where none may stand.

    Raises:
        UserError: If there is one.
    """
    for name, value in flatten(config).items():
        for place, number in _floats(name, value) if name != "data.nodata" else ():
            require(math.isfinite(number), f"{place}={number} must be finite; give another number")


def _floats(place: str, value: Any) -> Iterator[tuple[str, float]]:
    """Yield the floats of a value, and where they stand, as `heads[0].weight`."""
    if isinstance(value, float):
        yield place, value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from _floats(f"{place}.{name}", one)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _floats(f"{place}[{number}]", one)


def flatten(config: Any) -> dict[str, Any]:
    """Return a config as one flat dict with dotted names and values as in YAML."""
    return {one.name: _plain(one.value) for one in _walk(config)}


def as_begun(
    stored: Mapping[str, Any], config: T, given: Collection[str] = ()
) -> tuple[T, dict[str, Any]]:
    """Put into a config what a run does that is older than a default; return it and what was put.

    `stored` is what `flatten` returned when the run began, perhaps in an earlier release; `given`
    names the settings, or sections, that the user gave a value.
    """
    known, free, put = renew_stored(stored), unsaid(config, given), {}
    for one in _walk(config):
        old = _plain(one.before)
        is_older = one.before != one.default and known.get(one.name, old) == old
        if is_older and one.name in free:
            put[one.name] = one.before
    return with_values(config, put), put


def unsaid(config: Any, given: Collection[str]) -> set[str]:
    """Return the settings that have their default, and whose name or section is not given."""
    return {
        one.name
        for one in _walk(config)
        if one.value == one.default
        and not any(one.name == name or one.name.startswith(f"{name}.") for name in given)
    }


def numbers_of(config: Any) -> set[str]:
    """Return the settings that are no layout: those that change what a run learns."""
    return {one.name for one in _walk(config) if not one.is_layout}


def with_values(config: T, values: Mapping[str, Any], prefix: str = "") -> T:
    """Return a config with other values, by their dotted names."""
    changed: dict[str, Any] = {}
    for one in fields(config):  # type: ignore[arg-type]
        name, value = prefix + one.name, getattr(config, one.name)
        if is_dataclass(value):
            changed[one.name] = with_values(value, values, f"{name}.")
        elif name in values:
            changed[one.name] = values[name]
    return replace(config, **changed)  # type: ignore[type-var]


def differences(stored: Mapping[str, Any], config: Any) -> dict[str, tuple[Any, Any]]:
    """Return what a config changes of the numbers of a run: name -> (before, now).

    `stored` is as for `as_begun`. A setting that it lacks had the value that its field says runs
    had before there was one, which is the default if the field says nothing.
    """
    before, changed = renew_stored(stored), {}
    for one in _walk(config):
        old, now = before.pop(one.name, _plain(one.before)), _plain(one.value)
        if not one.is_layout and _numbers(old, one.value) != _numbers(now, one.value):
            changed[one.name] = (old, now)
    return changed | {name: (old, None) for name, old in before.items()}


def narrowed(name: str, before: Any, now: Any) -> tuple[str, Any, Any]:
    """Return the first item and key of a list in which two values differ, if both have them all."""
    are_lists = isinstance(before, list) and isinstance(now, list) and len(before) == len(now)
    for number, (old, new) in enumerate(zip(before, now, strict=True) if are_lists else ()):
        if isinstance(old, dict) and isinstance(new, dict) and old.keys() <= new.keys():
            for key, value in new.items():
                if key in old and old[key] != value:
                    return f"{name}[{number}].{key}", old[key], value
    return name, before, now


class _Setting(NamedTuple):
    name: str
    is_layout: bool
    value: Any
    default: Any
    before: Any  # what runs did before there was this default


def _walk(config: Any, defaults: Any = None, prefix: str = "") -> Iterator[_Setting]:
    for one in fields(config):
        name, value = prefix + one.name, getattr(config, one.name)
        default = _default(one) if defaults is None else getattr(defaults, one.name)
        if is_dataclass(value):
            yield from _walk(value, default, f"{name}.")
        else:
            before = one.metadata.get(_BEFORE, default)
            yield _Setting(name, "layout" in one.metadata, value, default, before)


def _numbers(plain: Any, value: Any) -> Any:
    """Return what of a plain value changes numbers: of `data.sets` the weights, not the places.

    What items lack, of a list that was stored by an earlier release, has its default.
    """
    items = value if isinstance(value, tuple) and isinstance(plain, list) else ()
    of_items = {one.name: one for item in items if is_dataclass(item) for one in fields(item)}
    if not of_items:
        return plain
    usual = {name: _plain(_default(one)) for name, one in of_items.items()}
    layout = {name for name, one in of_items.items() if "layout" in one.metadata}
    whole = [usual | one for one in plain]
    return [{name: one[name] for name in one if name not in layout} for one in whole]


def _default(one: Field) -> Any:
    if one.default_factory is not MISSING:
        return one.default_factory()
    return None if one.default is MISSING else one.default


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
