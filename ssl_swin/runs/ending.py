"""What a run says when it ends or stops: what it found, where it lies, and what to type next."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from ssl_swin.config.run import FinetuneConfig
from ssl_swin.data.shards.classes import names_of
from ssl_swin.errors import ShardError
from ssl_swin.phases import duration
from ssl_swin.record.lives import spent
from ssl_swin.record.loaded import read_loaded
from ssl_swin.record.measures import heldout_told
from ssl_swin.record.summary import Summary
from ssl_swin.runs.build import Run
from ssl_swin.training.monitors import quality_told
from ssl_swin.training.progress import images_per_s
from ssl_swin.training.trainer import is_rank_0
from ssl_swin.typed import quoted, wrapped

_NAMES = 12  # columns of the names on the left
Line = tuple[str, str]  # what it is, and what is said of it
Command = tuple[str, ...]  # words that stay together on a line


def tell_finished(run: Run, summary: Summary, before: str = "finished") -> None:
    """Say what a finished run has found, where it lies, and what to type next; on rank 0."""

    def lines() -> Iterator[str]:
        epochs = f"{summary.epochs:g} epoch{'' if summary.epochs == 1 else 's'}"
        seen = f"{epochs}, {summary.step:,} steps, {summary.samples_seen:,} images"
        yield f"{before}: {seen}" if before == "finished" else before
        yield from _table([*_found(run, asdict(summary)), *_time(run), *_places(run)])
        yield "next:"
        for command in _next(run):
            yield from wrapped(*command)

    _tell(lines)


def tell_stopped(run: Run, why: str) -> None:
    """Say where a run stands that was asked to stop, and what is saved; on rank 0."""
    step, sizes, folder = run.module.step, run.sizes, run.start.folder

    def lines() -> Iterator[str]:
        yield f"stopped after step {step}; the same command goes on from there"
        done, epochs = step / sizes.steps_per_epoch, run.config.optim.epochs
        where = f"step {step:,} of {sizes.stop_step:,}, epoch {done:.3g} of {epochs}"
        rest = [("stands at", where), *_found(run, run.module.metrics), *_time(run, left=True)]
        yield from _table([("why", why), *rest, ("saved", str(folder.last))])

    _tell(lines)


def _tell(lines: Callable[[], Iterator[str]]) -> None:
    """Print on rank 0; what cannot be read or printed must not change how the run ends."""
    if not is_rank_0():
        return
    try:
        for line in lines():
            print(line, flush=True)
    except BrokenPipeError:  # who reads it has gone; Python would fail once more as it leaves
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        with suppress(OSError):
            print(f"warning: what the run found cannot be told: {error}", file=sys.stderr)


def _found(run: Run, found: Mapping[str, Any]) -> Iterator[Line]:
    """Yield loss and top-1, of a module's `metrics` or of a summary, which have the same names."""
    if found.get("train_loss") is not None:
        yield "loss", f"{found['train_loss']:.4f}, of the last step that was logged"
    if found.get("heldout_loss") is not None:
        yield "held-out", heldout_told(found)
    if found.get("rankme") is not None:
        yield "quality", quality_told(found)
    if bad := int(found.get("bad_samples") or 0):
        yield "bad images", f"{bad:,}, replaced; {run.start.folder.bad_samples} names them"
    if bad := int(found.get("bad_steps") or 0):
        yield "bad steps", f"{bad:,}, whose loss or gradient was not finite; they changed nothing"


def _time(run: Run, left: bool = False) -> Iterator[Line]:
    """Yield how long all lives took, and on request how long what is left will."""
    lives = spent(run.start.folder)
    told = duration(lives.seconds)
    if lives.num_lives > 1:
        told += f" in {lives.num_lives} lives"
    if lives.num_untold:
        told += f" ({lives.num_untold} killed, not counted)"
    steps_per_s = lives.steps_per_s()
    if steps_per_s:
        told += f", {images_per_s(steps_per_s * run.sizes.global_batch_size)}"
    if run.on_gpu:
        told += f", {lives.process_s / 3600:.3g} GPU-hours"
    if left and steps_per_s:
        work, step = run.module.work, run.module.step
        share_left = (work(run.sizes.stop_step) - work(step)) / work(step)
        told += f"; {duration(share_left * step / steps_per_s)} left"
    yield "time", told


def _places(run: Run) -> Iterator[Line]:
    """Yield where the things are that a run leaves, of those that are there."""
    folder = run.start.folder
    if folder.classifier.is_file():
        yield "classifier", str(folder.classifier)
    yield "encoder", str(folder.encoder)
    if (began := read_loaded(folder)) is not None:
        yield "began with", f"{began.source}: {began.told}; {folder.loaded} names them"
    if (pictures := folder.panel(0).parent).is_dir():
        yield "pictures", str(pictures)
    yield "checkpoint", str(folder.last)
    if folder.best.is_file():
        yield "best", str(folder.best)
    if folder.best_encoder.is_file():
        yield "its encoder", str(folder.best_encoder)


def _next(run: Run) -> Iterator[Command]:
    """Yield the commands to type next."""
    root, data = run.start.folder.root, run.config.data
    if isinstance(run.config, FinetuneConfig):
        held = data.val_shards or "LABELLED_SHARDS"
        yield "ssl-swin predict", quoted(root), "NEW_IMAGES", "-o predictions.csv"
        labels = [] if data.labels is None else [f"--labels {quoted(data.labels)}"]
        yield "ssl-swin evaluate", quoted(root), f"--data {quoted(held)}", *labels
    else:
        shards, val_shards = "LABELLED_SHARDS", "OTHER_LABELLED_SHARDS"
        if data.shards is not None and _is_labelled(run):
            shards, val_shards = data.shards, data.val_shards or val_shards
        yield (
            "ssl-swin finetune",
            f"--encoder {quoted(root)}",
            f"--data.shards {quoted(shards)}",
            f"--data.val-shards {quoted(val_shards)}",
            f"--run-dir {quoted(run.start.folder.finetuning)}",
        )
    yield "ssl-swin report", quoted(root)
    yield "tensorboard", f"--logdir {quoted(root)}"


def _is_labelled(run: Run) -> bool:
    """Whether the images of a pretraining have classes; asked of the first shard alone."""
    shards = run.stream.shards
    try:
        return bool(names_of(shards)) or bool(shards.storage.rows(0)["label_kind"].any())
    except (ShardError, OSError):  # the run is over, whatever storage does
        return False


def _table(lines: list[Line]) -> Iterator[str]:
    for name, said in lines:
        yield f"  {name:<{_NAMES}}{said}"
