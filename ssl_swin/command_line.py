"""Words of a command line -> the arguments of a typed function, or the config of a run.

Docstrings are the help.
"""

import inspect
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from itertools import islice
from typing import Any, TypeVar, get_type_hints

from ssl_swin.config.earlier import renew_words
from ssl_swin.config.file import read_file, setting_names
from ssl_swin.config.flags import with_hyphens, with_underscores
from ssl_swin.config.items import misfit, refuse_twice
from ssl_swin.config.named import find_config
from ssl_swin.config.run import KINDS, LifeOptions
from ssl_swin.errors import UserError, nearest

T = TypeVar("T")
# what jsonargparse says of a value of none of several types, of no known word, of another type
_MISFITS = (
    r'Parser key "(?P<name>[\w.]+)": .*Union subtypes Subtypes: \[(?P<kinds>.*?)\] Errors: .*'
    r"Given value: ?(?P<value>.*)",
    r'Parser key "(?P<name>[\w.]+)": Expected a typing\.Literal\[(?P<kinds>[^\[\]]*)\]\. '
    r"Got value: (?P<value>.*)",
    r"Parser key \"(?P<name>[\w.]+)\": Expected a (?P<kinds><class '\w+'>)\. "
    r"Got value: (?P<value>.*)",
)
_SHORT = {"output": "-o"}  # a parameter of any command -> its short flag


def call(name: str, function: Callable[..., int | None], words: list[str], **handed: Any) -> int:
    """Call the typed function of a command with what its words say, and return its exit status.

    A parameter without a default is a positional argument, one with a default is a flag, one that
    is given by name alone a flag that must be there, and each field of a parameter that is a
    dataclass is a flag. `*runs: Path` takes the positional arguments
    that are left. A class with a method `read` makes its parameter of all words itself. `handed`
    are arguments that are not on the command line. A function that returns None means status 0.

    Raises:
        UserError: If the words do not fit.
    """
    hints, texts = get_type_hints(function), _texts(function)
    parser = _Parser(name, texts[""])
    kinds: dict[str, type] = {}
    signature = inspect.signature(function)
    for key, parameter in signature.parameters.items():
        if key in handed:
            continue
        if hasattr(hints[key], "read"):
            return function(hints[key].read(words), **handed) or 0
        if is_dataclass(hints[key]):
            kinds[key] = hints[key]
            parser.add_fields(kinds[key])
        elif parameter.kind is parameter.VAR_POSITIONAL:
            parser.add_rest(key, hints[key], texts[key])
        elif parameter.default is not parameter.empty:
            parser.add_flag(key, hints[key], parameter.default, texts[key])
        elif parameter.kind is parameter.KEYWORD_ONLY:
            parser.add_flag(key, hints[key], MISSING, texts[key])
        else:
            parser.add_positional(key, hints[key], texts[key])
    values = parser.parse(words)
    for key, kind in kinds.items():
        values[key] = kind(**{one.name: values.pop(one.name) for one in fields(kind)})
    bound = inspect.BoundArguments(signature, OrderedDict(values | handed))
    return function(*bound.args, **bound.kwargs) or 0


def take(name: str, about: str, defaults: T, words: Sequence[str]) -> tuple[T, list[str]]:
    """Read the flags that are the fields of a dataclass; return it and all other words, in order.

    A field that is a tuple of strings may be given several times; each adds one to its default. The
    help says `name`, which is the command with what goes before its flags, and then `about`.

    Raises:
        UserError: If a value does not fit its field.
    """
    parser = _Parser(name, about)
    parser.add_fields(type(defaults), defaults)
    own, others = parser.apart(words)
    return type(defaults)(**parser.parse(own)), others


def read_config(kind: str, words: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """Read `CONFIG [--key value ...]` of a pretrain or finetune; return it and what else is said.

    That is `LifeOptions`; `given`, the settings and sections that got a value here; and `told`,
    lines on settings that have another name today, or are no more.

    Raises:
        UserError: If a setting is unknown or does not fit.
    """
    config, about = KINDS[kind], str(KINDS[kind].__doc__)
    named = "[CONFIG]" if kind == "finetune" else "CONFIG"  # without one it chooses by itself
    parser = _Parser(kind, about, usage=f"ssl-swin {kind} {named} [--key value ...]")
    parser.add_config(config)
    parser.add_fields(LifeOptions)
    words, told = renew_words(words)
    words = [part for word in words for part in word.split("=", word.startswith("--config="))]
    if words and not words[0].startswith("-"):
        words = ["--config", *words]
    flags = [with_underscores(word) for word in words if word.startswith("--")]
    given = {flag[2:].partition("=")[0] for flag in flags}
    for place, word in enumerate(words):
        if word == "--config" and place + 1 < len(words):
            path = find_config(kind, named := words[place + 1])
            told += [] if path == named else [f"{named} is the shipped {path}"]
            words[place + 1], keys, lines = read_file(path, config)
            given, told = given | keys, told + lines
    refuse_twice(words)
    try:
        values = parser.parse([*_warmup(words, given), *words])
        settings = config(**{one.name: values[one.name] for one in fields(config)})
    except (UserError, TypeError) as error:
        if told_better := misfit(config, words):
            raise UserError(told_better) from error
        raise
    said = {one.name: values[one.name] for one in fields(LifeOptions)}
    return settings, said | {"given": frozenset(given), "told": told}


def _warmup(words: Sequence[str], given: set[str]) -> list[str]:
    """Return a warm-up that fits the epochs that are asked for, where no file says either.

    The usual one may be longer.
    """
    flat = [part for word in words for part in word.split("=", 1)]
    if {"config", "optim.warmup_epochs"} & given or "--optim.epochs" not in flat[:-1]:
        return []
    with suppress(ValueError):
        return [f"--optim.warmup-epochs={float(flat[flat.index('--optim.epochs') + 1]) / 10}"]
    return []  # the parser says what is wrong


class _Parser:
    """jsonargparse's parser of one command; `flags` says how many words follow each flag."""

    def __init__(self, name: str, about: str, usage: str | None = None) -> None:
        import jsonargparse  # late, for speed: `ssl-swin --help` does without it

        jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
        self.flags, self._num_placed = {"-h": 0, "--help": 0}, 0
        self._rest: dict[str, Any] = {}
        self._see = f"; see ssl-swin {' '.join(name.split()[:2])} --help"
        self._parser = jsonargparse.ArgumentParser(
            prog=f"ssl-swin {name}",
            usage=usage,
            description=about,
            exit_on_error=False,
            allow_abbrev=False,
        )

    def add_positional(self, name: str, hint: Any, text: str) -> None:
        """Know an argument by its place."""
        self._num_placed += 1
        self._parser.add_argument(name, type=hint, help=text)

    def add_rest(self, name: str, hint: Any, text: str) -> None:
        """Know the list of arguments that are left."""
        self._rest[name] = hint
        self._parser.add_argument(name, type=hint, help=text, nargs="*", default=[])

    def add_flag(self, name: str, hint: Any, default: Any, text: str) -> None:
        """Know a flag; MISSING as a default means that it must be given."""
        how: dict[str, Any] = {"type": hint, "default": default}
        if default is MISSING:
            how = {"type": hint, "required": True}
        elif hint is bool:
            how = {"action": "store_true", "default": default}
        elif hint == tuple[str, ...]:
            how, text = {"action": "append", "default": [*default]}, f"{text} May be repeated."
        flags = [f"--{name.rstrip('_')}"]  # `for_` is --for, a word that Python keeps for itself
        flags += [_SHORT[name]] if name in _SHORT else []
        self.flags |= dict.fromkeys(flags, int(hint is not bool))
        self._parser.add_argument(*flags, dest=name, help=text, **how)

    def add_fields(self, kind: type, defaults: Any = None) -> None:
        """Know each field of a dataclass as a flag, with the defaults of an instance or its own."""
        hints, texts = get_type_hints(kind), _texts(kind)
        for one in fields(kind):
            default = one.default if defaults is None else getattr(defaults, one.name)
            self.add_flag(one.name, hints[one.name], default, texts[one.name])

    def add_config(self, kind: type) -> None:
        """Know every setting of a run's config, and the file that holds them."""
        self._parser.add_argument("--config", action="config", help="The run's YAML file.")
        self._parser.add_class_arguments(kind)
        self.flags |= {f"--{name}": 1 for name in ("config", *setting_names(kind))}

    def apart(self, words: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the known flags with their values, and all other words, each in their order."""
        own, others, left = [], [], iter(words)
        for word in left:
            flag, equals, _ = with_underscores(word).partition("=")
            if word[:2] in self.flags and len(word) > 2:  # a short flag with its value, -ox
                own.append(word)
            elif flag not in self.flags:
                others.append(word)
            else:
                own += [word, *islice(left, 0 if equals else self.flags[flag])]
        return own, others

    def parse(self, words: Sequence[str]) -> dict[str, Any]:
        """Return the values by name; refuse a word that is unknown, or does not fit."""
        import jsonargparse  # late, for speed

        for word in words:
            flag = word.partition("=")[0]
            if flag.startswith("--") and with_underscores(flag) not in self.flags:
                known = [with_hyphens(known)[2:] for known in self.flags if known[:2] == "--"]
                hint = nearest(flag[2:], known, "--") or self._see
                raise UserError(f"unknown option {flag}{hint}")
        words = [with_underscores(word) for word in words]
        if not {"-h", "--help"}.isdisjoint(words):
            print(_plain_help(self._parser.format_help()), end="")
            raise SystemExit(0)
        rest: dict[str, Any] = {}
        for name, kind in self._rest.items():  # argparse ends them at a flag, and is slow with many
            flags, others = self.apart(words)
            rest[name] = [kind(word) for word in others[self._num_placed :]]
            words = others[: self._num_placed] + flags
        try:
            values = self._parser.instantiate(self._parser.parse_args(words)).as_dict()
        except jsonargparse.ArgumentError as error:
            said = _plainly(" ".join(str(error).split()))
            raise UserError(said + ("" if "; give " in said else self._see)) from error
        return {k: tuple(v) if isinstance(v, list) else v for k, v in (values | rest).items()}


def _plain_help(text: str) -> str:
    """Show flags with hyphens, and types in plain words."""
    for pattern, plain in ((r"<class\s+'(\w+)'>", r"\1"), (r"Literal\[([^\]]*)\]", r"\1")):
        text = re.sub(pattern, plain, text)
    return _with_hyphens(re.sub(r"Optional\[([^\]]*)\]", r"\1 | null", text))


def _with_hyphens(text: str) -> str:
    return re.sub(r"--[a-z][\w.-]*", lambda flag: with_hyphens(flag[0]), text)


def _plainly(message: str) -> str:
    """Say in one short line what jsonargparse says of a value that does not fit its type."""
    for pattern in _MISFITS:
        if found := re.search(pattern, message):
            kinds = re.sub(r"<class '(\w+)'>|typing\.Literal\[([^\]]*)\]", r"\1\2", found["kinds"])
            kinds = kinds.replace("NoneType", "null").replace("'", "")
            kinds = re.sub(r"tuple\[(\w+), \.\.\.\]", r"[\1, ...]", kinds)
            kinds = re.sub(r"dict\[(\w+), (\w+)\]", r"{\1: \2, ...}", kinds)
            *most, last = re.split(r", (?![^\[{]*[\]}])", kinds)  # where no bracket is open
            kinds = " or ".join(filter(None, (", ".join(most), last)))
            return f"{found['name']}={found['value']} does not fit; give {kinds}"
    return _with_hyphens(message)


@cache
def _texts(documented: Callable[..., Any]) -> dict[str, str]:
    """Return what is said of each parameter or field, and of the whole by an empty name."""
    import docstring_parser  # late, for speed

    found = docstring_parser.parse_from_object(documented)
    texts = {one.arg_name.lstrip("*"): one.description or "" for one in found.params}
    return defaultdict(str, texts, **{"": found.description or ""})
