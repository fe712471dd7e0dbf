"""The shipped configs by name: found, listed and printed."""

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap

from ssl_swin.config.run import KINDS
from ssl_swin.errors import UserError
from ssl_swin.shipped import or_shipped, shipped

_FIELDS = "command|hardware|minutes|hours|time|expected|source|change first"
_FIELD = re.compile(rf"# ({_FIELDS}|precision)(?:  +|(?<=precision) )(.*)")
_SHOWN = ("hardware", "minutes", "hours", "time", "expected")
_WIDTH = max(map(len, _SHOWN))
_HOW = (
    "run one:     ssl-swin pretrain NAME [--key value ...]",
    "make it own: ssl-swin configs NAME > my.yaml, then ssl-swin pretrain my.yaml",
)


def find_config(kind: str, given: str) -> str:
    """Return the path of a config: of a file, or else of a shipped one, by its path or its name.

    Raises:
        UserError: If there is neither.
    """
    if Path(given).is_file():
        return given
    if (name := given.removeprefix(f"{kind}/")) in _names(kind):
        return str(_path(kind, name))
    if Path(place := or_shipped(given)).exists():  # if a folder, whoever reads it says so
        return place
    raise UserError(
        f"no config {given}: {Path(given).absolute()} is not there, and no config of that name is "
        f"shipped for {kind}; give a file, or one of {', '.join(_names(kind))}"
    )


def configs(*names: str) -> None:
    """List the shipped configs, or print those that are named, such as `demo` or `finetune/demo`.

    `ssl-swin configs NAME > my.yaml` makes one your own; `pretrain` and `finetune` take names, too.

    Args:
        names: Names of the list.

    Raises:
        UserError: If no config has such a name, or two have.
    """
    for name in names:
        print(_only(name).read_text("utf-8"), end="")
    if not names:
        print("\n".join([*_list(), *_HOW]))


def header(text: str) -> dict[str, str]:
    """Read the comment that a config begins with: `purpose`, its first paragraph, and its fields.

    A first line that is a command is its field `command`.
    """
    comment = re.match(r"(?:#.*\n)*", text)
    lines = comment[0].splitlines() if comment else []
    found: dict[str, str] = {}
    if lines and (command := re.fullmatch(r"# (ssl-swin .*)", lines[0])):
        found, lines = {"command": command[1]}, lines[1:]
    name = "purpose"
    for line in lines:
        if field := _FIELD.fullmatch(line):
            name, line = field[1], field[2]
            found.pop(name, None)
        elif line == "#" or (name != "purpose" and not line.startswith("#      ")):
            name = name if "purpose" not in found else ""  # a paragraph ends
        found[name] = f"{found.get(name, '')} {line.removeprefix('#').strip()}".strip()
        if found[name] == "":
            del found[name]
    found.pop("", None)
    return found


def _list() -> Iterator[str]:
    for kind in KINDS:
        yield f"ssl-swin {kind} NAME"
        for name in _names(kind):
            said = header(_path(kind, name).read_text("utf-8"))
            yield f"  {name}"
            yield from _wrapped(said.get("purpose", ""))
            for field in _SHOWN:
                if field in said:
                    first = re.split(r"[.;] ", said[field])[0]
                    yield from _wrapped(f"{field:<{_WIDTH}} {first}", _WIDTH + 1)
        yield ""


def _wrapped(text: str, hanging: int = 0) -> list[str]:
    return wrap(text, 100, initial_indent=" " * 4, subsequent_indent=" " * (4 + hanging))


def _names(kind: str) -> list[str]:
    return sorted(path.stem for path in shipped("configs", kind).glob("*.yaml"))


def _path(kind: str, name: str) -> Path:
    return shipped("configs", kind, f"{name}.yaml")


def _only(given: str) -> Path:
    """Return the path of the one config of a name."""
    known = [f"{kind}/{name}" for kind in KINDS for name in _names(kind)]
    wanted = given.removeprefix("configs/").removesuffix(".yaml")
    found = [name for name in known if wanted in (name, name.partition("/")[2])]
    if len(found) > 1:
        raise UserError(f"{len(found)} configs are called {given}; give {' or '.join(found)}")
    if not found:
        raise UserError(f"no config {given} is shipped; give one of {', '.join(known)}")
    kind, _, name = found[0].partition("/")
    return _path(kind, name)
