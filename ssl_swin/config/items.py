"""What does not fit in settings that are lists: the item, its key, and what to write instead."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ssl_swin.config.flags import with_underscores
from ssl_swin.config.twice import keys_twice
from ssl_swin.errors import UserError

EXAMPLES = {
    "heads": "[{stage: 2, target: hog}, {stage: 4}]",
    "progressive": "[{until_epoch: 100, img_size: 128}]",
    "data.sets": "[{shards: one/, weight: 2}, {shards: other/, weight: 1}]",
}
"""Name of a setting that is a list of mappings -> how it is written."""


def misfit(kind: type, words: Sequence[str]) -> str | None:
    """Say in one line what of a config's lists does not fit; None if all of them do.

    The words are those of the command line, in which a config file is `--config PATH_OR_YAML`.
    """
    import yaml  # late, for speed

    flat = [part for word in words for part in _split(word)]
    for flag, value in pairwise(flat):
        name = flag.removeprefix("--")
        if name == flag or (name != "config" and not _holds_lists(name)):
            continue
        try:
            content = yaml.safe_load(_text(value) if name == "config" else value)
        except (yaml.YAMLError, OSError, UnicodeDecodeError):
            if name in EXAMPLES:
                return f"{name}={value!r} is not YAML; write it like '{EXAMPLES[name]}'"
            continue
        for part in [] if name == "config" else reversed(name.split(".")):
            content = {part: content}
        for said in _misfits(content, kind):
            return said
    return None


def refuse_twice(words: Sequence[str]) -> None:
    """Refuse a key that stands twice in a list or a section on the command line.

    Raises:
        UserError: If one does.
    """
    import yaml  # late, for speed

    for flag, value in pairwise(part for word in words for part in _split(word)):
        name = flag.removeprefix("--")
        if name != flag and value[:1] in ("[", "{"):
            with suppress(yaml.YAMLError):  # the parser says so
                for place in keys_twice(value):
                    dot = "" if place.startswith("[") else "."
                    raise UserError(f"{name}{dot}{place} stands there twice; leave one out")


def _split(word: str) -> list[str]:
    flag, equals, value = with_underscores(word).partition("=")
    return [flag, value] if equals and word.startswith("--") else [with_underscores(word)]


def _holds_lists(name: str) -> bool:
    """Whether a name is that of a list, of a section with one, or of what is in its items."""
    return any(f"{one}.".startswith(f"{name}.") or name.startswith(f"{one}.") for one in EXAMPLES)


def _text(path_or_yaml: str) -> str:
    if "\n" in path_or_yaml:
        return path_or_yaml
    return Path(path_or_yaml).read_text(encoding="utf-8")


def _misfits(content: Any, kind: Any, prefix: str = "") -> Iterator[str]:
    """Yield what does not fit in the lists of a section, or of a whole config."""
    hints = get_type_hints(kind)
    for name, value in content.items() if isinstance(content, dict) else ():
        hint = hints.get(name)
        if is_dataclass(hint):
            yield from _misfits(value, hint, f"{prefix}{name}.")
        elif get_origin(hint) is tuple and is_dataclass(get_args(hint)[0]):
            yield from _misfits_of_list(value, get_args(hint)[0], f"{prefix}{name}")


def _misfits_of_list(value: Any, kind: Any, name: str) -> Iterator[str]:
    like = f"write it like '{EXAMPLES[name]}'"
    if not isinstance(value, list):
        yield f"{name}={_plain(value)} is no list; {like}"
        return
    for number, item in enumerate(value):
        where = f"{name}[{number}]"
        if isinstance(item, dict):
            yield from _misfits_of_item(item, kind, where, like)
        else:
            yield f"{where}={_plain(item)} must hold `key: value`; {like}"


def _misfits_of_item(item: Mapping[Any, Any], kind: Any, where: str, like: str) -> Iterator[str]:
    hints = get_type_hints(kind)
    for key, value in item.items():
        if key not in hints:
            yield f"{where}.{key} is not known; give {_listed([*hints])}"
        elif not _fits(value, hints[key]):
            allowed = _listed([*_allowed(hints[key])])
            yield f"{where}.{key}={_plain(value)} does not fit; give {allowed}"
    for one in fields(kind):
        if one.name not in item and one.default is MISSING and one.default_factory is MISSING:
            yield f"{where}: {one.name} is missing; {like}"
    try:
        with suppress(TypeError):  # of numbers that YAML takes for text, as 1e-3
            kind(**item)
    except UserError as error:
        name = where.partition("[")[0]
        yield str(error).replace(f"{name}.", f"{where}.", 1)


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        is_one = isinstance(value, list | tuple) and len(value) == len(kinds)
        return is_one and all(map(_fits, value, kinds))
    if hint in (int, float) and isinstance(value, str):
        with suppress(ValueError):
            return hint(value) is not None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is not int or not isinstance(value, bool))


def _allowed(hint: Any) -> Iterator[str]:
    """Yield in the words of a user what a type allows."""
    if get_origin(hint) in (Union, UnionType):
        for one in get_args(hint):
            yield from _allowed(one)
    elif get_origin(hint) is Literal:
        yield from map(str, get_args(hint))
    elif get_origin(hint) is tuple:
        yield f"[{', '.join(word for one in get_args(hint) for word in _allowed(one))}]"
    else:
        yield "null" if hint is NoneType else hint.__name__


def _listed(words: list[str]) -> str:
    *most, last = words
    return " or ".join(filter(None, (", ".join(most), last)))


def _plain(value: Any) -> str:
    return "null" if value is None else str(value)
