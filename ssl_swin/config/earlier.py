"""What configs of earlier releases hold, and what it is today.

Settings are read here where they are stored in checkpoints and run folders, and where users write
them: in YAML and on the command line.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ssl_swin.config.flags import with_hyphens, with_underscores
from ssl_swin.errors import UserError

# old name of a setting -> its name today
RENAMED: dict[str, str] = {}
# name of a setting that is gone -> what all runs do now, as in YAML; ... if it changed no number
REMOVED: dict[str, Any] = {}


def renew_stored(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Give flat stored settings their names of today; leave out what all runs do as they did."""
    return {
        RENAMED.get(name, name): value
        for name, value in stored.items()
        if name not in REMOVED or REMOVED[name] not in (..., value)
    }


def renew_words(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """Give the flags among words their names of today; return the words, and what is to be told.

    Raises:
        UserError: If a setting that is gone is to be other than what is done now.
    """
    import yaml  # late, for speed

    renewed, told, left = [], [], iter(words)
    for word in left:
        flag, equals, value = word.partition("=")
        name = with_underscores(flag).removeprefix("--")
        if name == flag or name not in RENAMED | REMOVED:
            renewed.append(word)
        elif name in RENAMED:
            renewed.append(f"--{RENAMED[name]}{equals}{value}")
            told.append(f"{flag} is {with_hyphens(f'--{RENAMED[name]}')} today")
        else:
            told.append(_gone(flag, name, yaml.safe_load(value if equals else next(left, ""))))
    return renewed, told


def renew_content(content: dict[str, Any], where: str) -> list[str]:
    """Do in place the same to what a YAML file says; return what is to be told.

    Raises:
        UserError: As for `renew_words`, or if a setting is there under two names.
    """
    told = []
    for name in [*RENAMED, *REMOVED]:
        section, last = _section(content, name)
        if section is None or last not in section:
            continue
        value = section.pop(last)
        if name in REMOVED:
            told.append(_gone(f"{where}: {name}", name, value))
            continue
        new = RENAMED[name]
        place, last = _section(content, new, make=True)
        if place is None or last in place:
            raise UserError(f"{where}: {name} is {new} today; give it once, under that name")
        place[last] = value
        told.append(f"{where}: {name} is {new} today")
    return told


def _gone(said: str, name: str, value: Any) -> str:
    now = REMOVED[name]
    if now is ...:
        return f"{said} is no more, and changes nothing"
    done = f"{said} is no more, all runs do as with {now!r}"
    if value != now:
        raise UserError(f"{done}, not {value!r}: leave it out")
    return done


def _section(
    content: dict[str, Any], name: str, make: bool = False
) -> tuple[dict[str, Any] | None, str]:
    """Return the mapping in which a dotted name stands, if there is one, and its key there."""
    *sections, last = name.split(".")
    for section in sections:
        inner = content.setdefault(section, {}) if make else content.get(section)
        if not isinstance(inner, dict):
            return None, last
        content = inner
    return content, last
