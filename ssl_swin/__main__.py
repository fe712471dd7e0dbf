"""The commands; nothing heavy is imported until one runs."""

import errno
import faulthandler
import importlib
import multiprocessing
import os
import signal
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_swin import __version__, command_line, errors, machine, signals
from ssl_swin.cluster.allocation import complaint, starts_its_own, taken
from ssl_swin.cluster.own_ranks import run_ranks
from ssl_swin.config.run import KINDS
from ssl_swin.config.settings import with_values
from ssl_swin.launcher import end_with_parent, launcher, says_first
from ssl_swin.phases import Phase

# command -> (module, function, one line of help)
COMMANDS = {
    "demo": ("ssl_swin.demo", "demo", "pretrain and fine-tune on the shipped images, in minutes"),
    "recipe": (
        "ssl_swin.recipe.command",
        "recipe",
        "write a config for your images and this machine: IMAGES_OR_SHARDS -o FILE",
    ),
    "pretrain": ("ssl_swin.runs.life", "run", "pretrain an encoder: CONFIG [--key value ...]"),
    "finetune": ("ssl_swin.runs.life", "run", "fine-tune a classifier: [CONFIG] [--key value ...]"),
    "predict": (
        "ssl_swin.evaluation.predict",
        "predict",
        "name the classes of images: RUN IMAGES... [-o FILE]",
    ),
    "evaluate": (
        "ssl_swin.features.evaluate",
        "evaluate",
        "measure a classifier, or frozen features: WHAT... --data SHARDS [--test SHARDS]",
    ),
    "embed": (
        "ssl_swin.features.embed",
        "embed",
        "write the features of images: WHAT --data SHARDS -o FILE",
    ),
    "export": (
        "ssl_swin.pretrained.export.command",
        "export",
        "weights for other libraries: RUN --format timm",
    ),
    "configs": ("ssl_swin.config.named", "configs", "list the shipped configs, or print one: NAME"),
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
    "shards index": ("ssl_swin.shard_tools.index", "index", "index anybody's WebDataset tars"),
    "shards verify": (
        "ssl_swin.shard_tools.verify",
        "verify",
        "decode every image, name what is broken",
    ),
    "shards info": ("ssl_swin.shard_tools.info", "info", "count samples, bytes, classes and sizes"),
}
HELP = (
    "usage: ssl-swin COMMAND ...    (ssl-swin COMMAND --help tells more)\n",
    "Pretrains Swin encoders by masked image modelling, and fine-tunes them.\n",
)
EXIT_S = 10.0  # after an error, a process that has not left by then is ended, with status 1
CLEAN_EXIT_S = 120.0  # the same without an error; a busy machine may take a while
_STDERR = 2
_SHARED = (
    "embed",
    "evaluate",
)  # commands that several processes may share, and that end one by one
_WITH_LOADERS = (*KINDS, *_SHARED, "predict")  # that have loader processes
_HINT = "Was memory short? The same command goes on from the last save."
_HINT_ELSE = "Was memory short? Start again, and give fewer --num-workers."


def main() -> None:
    """Run a command and leave with its exit status; what a user can fix is one line."""
    status = errors.FAILED
    try:
        try:
            status = run(sys.argv[1:])
        except BrokenPipeError:
            status = errors.READER_GONE
        except SystemExit as left:  # after a help; 1 is rich's, over a closed pipe
            status = errors.READER_GONE if left.code == 1 else errors.exit_status(left)
        if not _is_read() and status == 0:
            status = errors.READER_GONE
        sys.exit(status)
    finally:
        # Libraries leave when Python does, and may wait there for ranks that are gone.
        patience_s = CLEAN_EXIT_S if status in (0, errors.REQUEUE) else EXIT_S
        faulthandler.dump_traceback_later(patience_s, exit=True, file=_STDERR)
        # Loader workers that are left ignore SIGTERM, and Python would wait for them for ever. Of
        # their end torch's handler would make an error while Python exits.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Handlers of Python end with it, and a warning that comes then would look like a failure.
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        for process in multiprocessing.active_children():
            process.kill()


def _is_read() -> bool:
    """Flush what was printed. Of what nobody reads any more Python would complain as it exits."""
    read = True
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            read = False
    return read


def run(arguments: list[str]) -> int:
    """Run a command and return its exit status."""
    if arguments[:1] in (["--version"], ["-V"]):
        print(f"ssl-swin {__version__}")
        return 0
    name = " ".join(arguments[:2]) if arguments[:1] == ["shards"] else " ".join(arguments[:1])
    if name in ("", "-h", "--help", "help", "shards", "shards --help", "shards -h"):
        print(_help(of=name.split(" ")[0] if name.startswith("shards") else ""))
        return 0
    if name not in COMMANDS:
        return _fail(
            f"unknown command {name!r}{errors.nearest(name, COMMANDS)}; see ssl-swin --help"
        )
    words = arguments[len(name.split()) :]
    try:
        if name in KINDS:
            signals.watch()
            return _live(name, words)
        if name in _SHARED and (devices := _devices(name, words)) > 1:
            return run_ranks([name, *words], devices, end_together=False)
        handed = {"run": run} if name == "demo" else {}  # the demo is made of commands
        return command_line.call(name, _function(name), words, **handed)
    except (errors.UserError, errors.MachineError) as error:
        return _fail(errors.one_line(error), errors.exit_status(error))
    except BrokenPipeError:  # who reads what is printed has gone
        return errors.FAILED if name in KINDS else errors.READER_GONE
    except (ConnectionError, EOFError, MemoryError, RuntimeError) as error:
        if told := machine.cause(error):
            return _fail(told, errors.FAILED)
        if not (stopped := _stopped_worker(error)) or name not in _WITH_LOADERS:
            raise
        if "exit code" in stopped:  # it ended itself, and has said why
            return _fail(f"{stopped.partition('. ')[0]}: its own words are above", errors.FAILED)
        if not isinstance(error, RuntimeError) and not _while_receiving(error):
            traceback.print_exception(error)  # it may tell of something else
        if name in KINDS:
            return _fail(f"{stopped}. {_HINT}", errors.FAILED)
        return _fail(f"{stopped}. {_HINT_ELSE}", errors.FAILED)
    except OSError as error:
        if (status := _told_of_files(error)) is None:
            raise
        return status
    except KeyboardInterrupt as error:
        return _fail(str(error) or "stopped", status=130)


def _told_of_files(error: OSError) -> int | None:
    """Tell in one line what the system says of a file, and return the status; None if unknown."""
    if told := machine.cause(error):
        return _fail(told, errors.FAILED)
    what = f"{error.filename}: {error.strerror}"
    if isinstance(error, PermissionError) and error.filename:
        return _fail(f"{what}; let this user have it", errors.FAILED)
    if error.errno in machine.AWAY and error.filename:
        return _fail(f"{what}; its storage fails, so try again later", errors.FAILED)
    if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):  # no file system has such a name
        return _fail(str(error))
    return None


def _live(name: str, words: list[str]) -> int:
    """Live one life of a run; what can be refused before torch is imported is refused before."""
    config, options = command_line.read_config(name, words)
    layout = taken(os.environ, config.training.devices, config.training.num_nodes)
    if not options["find_micro_batch"]:  # one process tries for all
        if misfit := complaint(os.environ, *layout):
            raise errors.UserError(misfit)
        if starts_its_own(os.environ, layout[0]):
            return run_ranks([name, *words], *layout)
    if launcher() == "torchrun":
        end_with_parent()
    names = ("training.devices", "training.num_nodes")
    config = with_values(config, dict(zip(names, layout, strict=True)))
    with signals.heard_at_once(signals.leave_at_once), Phase("loading libraries"):
        live = _function(name)
    return live(config, **options)


@dataclass(frozen=True)
class _Processes:
    devices: int = 1
    """Processes on this machine."""


def _devices(name: str, words: list[str]) -> int:
    """Return how many processes this one has to start for a command that several may share."""
    if launcher() == "torchrun":
        end_with_parent()
    if {"-h", "--help"} & {*words}:
        return 1
    asked, _ = command_line.take(name, "", _Processes(), words)
    if asked.devices < 1:
        raise errors.UserError(f"devices={asked.devices} leaves nobody to work; give 1 or more")
    return asked.devices if starts_its_own(os.environ, asked.devices) else 1


def _function(name: str) -> Any:
    module, function, _ = COMMANDS[name]
    return getattr(importlib.import_module(module), function)


def _help(of: str = "") -> str:
    """List the commands that begin with a word."""
    width = max(map(len, COMMANDS))
    lines = [
        f"  {name:<{width}}  {text}"
        for name, (_, _, text) in COMMANDS.items()
        if name.startswith(of)
    ]
    return "\n".join([*HELP, *lines])


def _stopped_worker(error: Exception) -> str | None:
    """Return what became of a loader worker, if that is what an error tells of."""
    if not isinstance(error, RuntimeError):
        told = "DataLoader worker" in str(error)  # by one that lives; something else broke
        return None if told else f"DataLoader worker broke off ({type(error).__name__})"
    first_line = str(error).partition("\n")[0]
    return first_line.rstrip(" .") if first_line.startswith("DataLoader worker") else None


def _while_receiving(error: Exception) -> bool:
    """Whether it broke while a batch came from a loader worker, which may have just been killed."""
    return any(
        Path(frame.filename).name == "dataloader.py"
        for frame in traceback.extract_tb(error.__traceback__)
    )


def _fail(message: str, status: int = errors.USER_ERROR) -> int:
    if says_first(message):
        with suppress(BrokenPipeError):
            print(f"error: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
