"""The commands; nothing heavy is imported until one runs."""

import difflib
import importlib
import inspect
import multiprocessing
import os
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from ssl_swin import __version__, errors, signals

# command -> (module, function, one line of help)
COMMANDS = {
    "demo": ("ssl_swin.demo", "demo", "pretrain and fine-tune on the shipped images, in minutes"),
    "pretrain": ("ssl_swin.runs.life", "pretrain", "pretrain an encoder: CONFIG [--key value ...]"),
    "finetune": (
        "ssl_swin.runs.life",
        "finetune",
        "fine-tune a classifier: CONFIG [--key value ...]",
    ),
    "doctor": ("ssl_swin.shard_tools.doctor", "doctor", "would a run wait for data? --data SHARDS"),
    "submit": (
        "ssl_swin.cluster.submit",
        "submit",
        "check a run and queue it: pretrain CONFIG ...",
    ),
    "status": ("ssl_swin.cluster.status", "status", "where runs stand in SLURM: [RUN ...]"),
    "verdict": ("ssl_swin.cluster.verdict", "verdict", "for batch scripts: queue a job again?"),
    "report": ("ssl_swin.record.report", "report", "put finished runs into one table: RUN ..."),
    "shards create": (
        "ssl_swin.shard_tools.create",
        "create",
        "pack a folder of images into shards",
    ),
    "shards index": ("ssl_swin.data.shards.indexing", "index", "index anybody's WebDataset tars"),
    "shards verify": (
        "ssl_swin.shard_tools.verify",
        "verify",
        "decode every image, name what is broken",
    ),
    "shards info": (
        "ssl_swin.shard_tools.info",
        "info",
        "count samples, bytes, classes and sizes",
    ),
}
CONFIGS = {"pretrain": "PretrainConfig", "finetune": "FinetuneConfig"}


def main() -> None:
    """Run a command and leave with its exit status; what a user can fix is one line."""
    try:
        sys.exit(run(sys.argv[1:]))
    finally:
        # Loader workers that are left ignore SIGTERM, and Python would wait for them for ever.
        for process in multiprocessing.active_children():
            process.kill()


def run(arguments: list[str]) -> int:
    """Run a command and return its exit status."""
    if arguments[:1] in (["--version"], ["-V"]):
        print(f"ssl-swin {__version__}")
        return 0
    name = " ".join(arguments[:2]) if arguments[:1] == ["shards"] else " ".join(arguments[:1])
    if name in ("", "-h", "--help", "help", "shards", "shards --help", "shards -h"):
        print(_help())
        return 0
    if name not in COMMANDS:
        return _fail(f"unknown command {name!r}{_nearest(name, COMMANDS)}; see ssl-swin --help")
    rest = arguments[len(name.split()) :]
    try:
        if name in CONFIGS:
            signals.watch()
            return _run_config(name, rest)
        if name == "submit":
            return _function(name)(rest, _read_config, _check_model)
        if name == "status":
            return _function(name)(rest)
        return _run_function(name, rest)
    except (ValueError, OSError, EOFError, MemoryError) as error:
        broke_off = isinstance(error, (ConnectionError, EOFError)) and name in CONFIGS
        if broke_off and "DataLoader worker" not in str(error):
            return _stopped(f"DataLoader worker broke off ({type(error).__name__})")
        status = errors.exit_status(error) if name in CONFIGS else errors.USER_ERROR
        return _fail(_told_by_worker(str(error)), status)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        return _stopped(str(error).splitlines()[0].rstrip(" ."))
    except KeyboardInterrupt:
        return _fail("stopped", status=130)


def _run_config(name: str, arguments: list[str]) -> int:
    """Run a command that takes a config file and overrides."""
    from ssl_swin.cluster.allocation import complaint

    settings, options = _parse_config(name, arguments)
    training = settings.training
    misfit = complaint(os.environ, training.devices, training.num_nodes)
    if misfit is not None:
        raise ValueError(misfit)
    return _function(name)(settings, **options)


def _read_config(name: str, arguments: list[str]) -> tuple[Any, Path | None]:
    """Return the config of a command, and the checkpoint of `--resume-from`."""
    settings, options = _parse_config(name, arguments)
    return settings, options["resume_from"]


def _check_model(config: Any) -> None:
    """Refuse a model that cannot be built.

    Raises:
        ValueError: If its numbers do not fit together.
    """
    from ssl_swin.runs.build import check_model

    check_model(config)


def _parse_config(name: str, arguments: list[str]) -> tuple[Any, dict[str, Any]]:
    """Read a config file and overrides; return the config and the other options."""
    import jsonargparse

    from ssl_swin.config import run as configs

    kind = getattr(configs, CONFIGS[name])
    parser = _parser(name)
    parser.add_argument("--config", action="config", help="The run's YAML file.")
    parser.add_argument("--resume-from", type=Path, help="Checkpoint to change a run on purpose.")
    parser.add_argument(
        "--dry-run", action="store_true", help="Take two steps, say what would be trained."
    )
    parser.add_class_arguments(kind)
    if arguments and not arguments[0].startswith("-"):
        arguments = ["--config", *arguments]
    known = [*_dotted_names(kind), "config", "resume-from", "dry-run", "help"]
    _refuse_unknown(arguments, known)
    try:
        values = parser.instantiate(parser.parse_args(arguments))
    except jsonargparse.ArgumentError as error:
        raise ValueError(" ".join(str(error).split())) from error
    settings = kind(**{field.name: values[field.name] for field in fields(kind)})
    return settings, {"resume_from": values["resume_from"], "dry_run": values["dry_run"]}


def _run_function(name: str, arguments: list[str]) -> int:
    """Run a command that is a typed function."""
    import jsonargparse

    function = _function(name)
    parser = _parser(name)
    handed = {"run": run} if name == "demo" else {}  # the demo is made of commands
    hints = get_type_hints(function)
    settings: dict[str, Any] = {key: kind for key, kind in hints.items() if is_dataclass(kind)}
    parser.add_function_arguments(function, as_positional=True, skip={*handed, *settings})
    for kind in settings.values():  # each of its fields is a flag
        parser.add_class_arguments(kind)
    parameters = inspect.signature(function).parameters.values()
    several = [p for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL]
    for parameter in several:  # jsonargparse leaves them out
        parser.add_argument(parameter.name, type=parameter.annotation, nargs="+")
    try:
        values = parser.instantiate(parser.parse_args(arguments)).as_dict()
    except jsonargparse.ArgumentError as error:
        raise ValueError(" ".join(str(error).split())) from error
    listed = [value for parameter in several for value in values.pop(parameter.name)]
    for key, kind in settings.items():
        values[key] = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
    return function(*listed, **values, **handed) or 0


def _parser(name: str) -> Any:
    import jsonargparse

    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    return jsonargparse.ArgumentParser(
        prog=f"ssl-swin {name}",
        description=COMMANDS[name][2],
        exit_on_error=False,
        allow_abbrev=False,
    )


def _function(name: str) -> Any:
    module, function, _ = COMMANDS[name]
    return getattr(importlib.import_module(module), function)


def _refuse_unknown(arguments: list[str], known: list[str]) -> None:
    """Refuse a key of the file or the command line that no field has, naming the nearest.

    Raises:
        ValueError: If there is one, or the file is no mapping.
    """
    import yaml

    for argument in arguments:
        name = argument.removeprefix("--").partition("=")[0]
        if argument.startswith("--") and name not in known:
            raise ValueError(f"unknown option --{name}{_nearest(name, known)}")
    if "--config" not in arguments:
        return
    place = arguments.index("--config") + 1
    if place == len(arguments) or not Path(arguments[place]).is_file():
        return  # the parser says so
    try:
        content = yaml.safe_load(Path(arguments[place]).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"{arguments[place]} is not YAML: {text}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{arguments[place]} is not a config: it holds no `key: value` lines")
    for section in {name.partition(".")[0] for name in known if "." in name}:
        if not isinstance(content.get(section, {}), dict):
            raise ValueError(f"{arguments[place]}: {section} must hold `key: value` lines, or go")
    for name in _keys(content):
        if name not in known:
            raise ValueError(f"{arguments[place]}: unknown key {name}{_nearest(name, known)}")


def _keys(content: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        inner = value if isinstance(value, list) else [value]
        if inner and all(isinstance(one, dict) and one for one in inner):
            for one in inner:
                yield from _keys(one, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _dotted_names(kind: Any, prefix: str = "") -> Iterator[str]:
    hints = get_type_hints(kind)
    for field in fields(kind):
        yield f"{prefix}{field.name}"
        for inner in (hints[field.name], *get_args(hints[field.name])):
            if is_dataclass(inner):
                yield from _dotted_names(inner, f"{prefix}{field.name}.")


def _nearest(name: str, known: Any) -> str:
    """Return a hint: the known name closest to this one, by spelling."""
    by_end = {candidate.rpartition(".")[2]: candidate for candidate in known}
    close = difflib.get_close_matches(name, known, 1) or [
        by_end[end] for end in difflib.get_close_matches(name.rpartition(".")[2], by_end, 1)
    ]
    return f"; did you mean {close[0]}?" if close else ""


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, _, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: ssl-swin COMMAND ...    (ssl-swin COMMAND --help tells more)",
            "",
            "Pretrains Swin encoders by masked image modelling, and fine-tunes them.",
            "",
            *lines,
        ]
    )


def _told_by_worker(message: str) -> str:
    """Return what a loader worker had to say, without the traceback that torch wraps it in."""
    if "DataLoader worker" not in message:
        return message
    return message.strip().splitlines()[-1].partition(": ")[2]


def _stopped(reason: str) -> int:
    return _fail(
        f"{reason}. Was memory short? The same command goes on from the last save.", errors.FAILED
    )


def _fail(message: str, status: int = errors.USER_ERROR) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
