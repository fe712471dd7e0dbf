"""The YAML file of a run's config: what it says, under the names that settings have today."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from ssl_swin.config.earlier import renew_content
from ssl_swin.config.folder import instead_of_folder
from ssl_swin.config.run import KINDS
from ssl_swin.config.twice import keys_twice
from ssl_swin.errors import UserError, nearest
from ssl_swin.files import named


def read_file(path: str, kind: type) -> tuple[str, set[str], list[str]]:
    """Read a config file; return what the parser is to read, the file's keys, and lines to tell.

    The parser reads the file itself, or, where names are of an earlier release, what it is today;
    and `off` where YAML reads a truth value.

    Raises:
        UserError: If it holds a key that no setting has, the nearest is named; or one twice; or is
            a folder.
    """
    import yaml  # late, for speed

    if Path(path).is_dir():
        name = next(name for name, its_config in KINDS.items() if its_config is kind)
        raise UserError(instead_of_folder(name, Path(path)))
    if not Path(path).is_file():
        return path, set(), []  # the parser says so
    try:
        with named(Path(path)):
            text = Path(path).read_text(encoding="utf-8")
        content, twice = yaml.safe_load(text), next(keys_twice(text), None)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML, mend it: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a config: it must hold `key: value` lines; see `configs`")
    if twice is not None:
        raise UserError(f"{path}: {twice} stands there twice; leave one of them out")
    told, known = renew_content(content, path), [*setting_names(kind)]
    for section in (name for name, hint in get_type_hints(kind).items() if is_dataclass(hint)):
        if not isinstance(content.get(section, {}), dict):
            raise UserError(f"{path}: {section} must hold `key: value` lines, or go")
    keys = [*_keys(content, known)]
    for name, place in keys:
        if name not in known:
            hint = nearest(name, known) or "; see --help"
            raise UserError(f"{path}: unknown key {place}{hint}")
    for name in _empty(content, kind):
        raise UserError(f"{path}: {name} is null, and must have a value; give one, or leave it out")
    changed = _name_switches(content, kind) or told
    return yaml.safe_dump(content) if changed else path, {name for name, _ in keys}, told


def _empty(content: dict[str, Any], kind: Any, prefix: str = "") -> Iterator[str]:
    """Yield the settings that are null and may not be, which the parser lets pass."""
    hints = get_type_hints(kind)
    for name, value in content.items():
        hint = hints.get(name)
        item = next(filter(is_dataclass, get_args(hint)), None)
        if is_dataclass(hint):
            yield from _empty(value, hint, f"{prefix}{name}.")
        elif item is not None and isinstance(value, list):
            for number, one in enumerate(value):
                if isinstance(one, dict):
                    yield from _empty(one, item, f"{prefix}{name}[{number}].")
        elif value is None and NoneType not in get_args(hint):
            yield f"{prefix}{name}"


def _name_switches(content: dict[str, Any], kind: Any) -> bool:
    """Put `on` or `off` where these are a setting's words and YAML took them for truth values."""
    hints, changed = get_type_hints(kind), False
    for name, value in content.items():
        hint = hints.get(name)  # None of a section that is gone
        if is_dataclass(hint):
            changed = _name_switches(value, hint) or changed
        elif isinstance(value, bool) and "off" in get_args(hint):
            content[name], changed = "on" if value else "off", True
    return changed


def _keys(
    content: dict[str, Any], known: Sequence[str], prefix: str = "", place: str = ""
) -> Iterator[tuple[str, str]]:
    """Yield the dotted names of a file's settings, and where they stand, as `heads[1].target`.

    What a setting holds by name is its value.
    """
    for key, value in content.items():
        name, inner = f"{prefix}{key}", value if isinstance(value, list) else [value]
        is_setting = name in known and not any(one.startswith(f"{name}.") for one in known)
        if not is_setting and inner and all(isinstance(one, dict) and one for one in inner):
            for number, one in enumerate(inner):
                item = f"[{number}]" if isinstance(value, list) else ""
                yield from _keys(one, known, f"{name}.", f"{place}{key}{item}.")
        elif value != {}:
            yield name, f"{place}{key}"


def setting_names(kind: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all settings and sections of a config."""
    hints = get_type_hints(kind)
    for one in fields(kind):
        yield f"{prefix}{one.name}"
        for inner in (hints[one.name], *get_args(hints[one.name])):
            if is_dataclass(inner):
                yield from setting_names(inner, f"{prefix}{one.name}.")
