"""What is where in a run folder, and what its summary says. Standard library only."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssl_swin.files import replacing


@dataclass(frozen=True)
class RunFolder:
    """The files of one run; nothing is written outside of them."""

    root: Path

    @property
    def config(self) -> Path:
        """The complete config, as parsed."""
        return self.root / "config.yaml"

    @property
    def last(self) -> Path:
        """The checkpoint that the same command goes on from."""
        return self.root / "checkpoints" / "last.ckpt"

    @property
    def previous(self) -> Path:
        """The checkpoint before the last, in case the last is damaged."""
        return self.root / "checkpoints" / "previous.ckpt"

    @property
    def damaged(self) -> Path:
        """What was the last checkpoint when it turned out to be damaged."""
        return self.root / "checkpoints" / "damaged.ckpt"

    @property
    def best(self) -> Path:
        """The fine-tuning checkpoint of the best validation top-1."""
        return self.root / "checkpoints" / "best.ckpt"

    @property
    def checkpoints(self) -> Path:
        """One JSON line for each checkpoint written: its step and the reasons."""
        return self.root / "checkpoints.jsonl"

    def kept(self, epoch: int) -> Path:
        """Return the checkpoint kept after `epoch` epochs."""
        return self.root / "checkpoints" / f"epoch-{epoch:04d}.ckpt"

    @property
    def encoder(self) -> Path:
        """The encoder's weights for others; its card lies beside it as `encoder.json`."""
        return self.root / "encoder.safetensors"

    def kept_encoder(self, epoch: int) -> Path:
        """Return the encoder kept after `epoch` epochs."""
        return self.root / "encoders" / f"epoch-{epoch:04d}.safetensors"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files."""
        return self.root / "tensorboard"

    @property
    def metrics(self) -> Path:
        """TensorBoard's points as JSON lines, in full precision."""
        return self.root / "metrics.jsonl"

    def panel(self, step: int) -> Path:
        """Return the picture panel drawn after `step` steps."""
        return self.root / "panels" / f"step-{step:07d}.png"

    def ledger(self, rank: int) -> Path:
        """Return one rank's sample ledger: JSON lines of life, step, rank, ids."""
        return self.root / "ledger" / f"rank-{rank:04d}.jsonl"

    @property
    def bad_samples(self) -> Path:
        """One JSON line for each image that could not be decoded, once for each epoch."""
        return self.root / "bad_samples.jsonl"

    @property
    def lives(self) -> Path:
        """One JSON line for each start: life, step, world size, SLURM's job, restart, nodes."""
        return self.root / "lives.jsonl"

    @property
    def ends(self) -> Path:
        """One JSON line for each end that was not sudden: life, step, reason, status, seconds."""
        return self.root / "ends.jsonl"

    @property
    def owner(self) -> Path:
        """Which life may write here: the one that started last."""
        return self.root / "owner.json"

    def stacks(self, rank: int) -> Path:
        """Return where one rank was when it hung: the stacks of its threads."""
        return self.root / "stacks" / f"rank-{rank:04d}.txt"

    @property
    def jobs(self) -> Path:
        """One JSON line for each job that `ssl-swin submit` queued for this run."""
        return self.root / "jobs.jsonl"

    @property
    def verdicts(self) -> Path:
        """One JSON line for each job that ended: whether it was queued again, and why."""
        return self.root / "verdicts.jsonl"

    @property
    def shards(self) -> Path:
        """What the training shard set is: number of shards and samples, fingerprint."""
        return self.root / "shards.json"

    @property
    def differences(self) -> Path:
        """What a deliberate change (`--resume-from`) changed."""
        return self.root / "resumed_from.json"

    @property
    def summary(self) -> Path:
        """The finished run in numbers."""
        return self.root / "summary.json"


@dataclass(frozen=True)
class Summary:
    """The schema of `summary.json`; a field that a run does not have is None."""

    kind: str
    """"pretrain" or "finetune"."""
    name: str
    """The run folder's name."""
    seed: int
    step: int
    """Optimiser steps done."""
    epochs: float
    samples_seen: int
    train_loss: float | None
    """Of the last step that was logged."""
    heldout_loss: float | None = None
    """Masked loss on the validation shards, with fixed masks."""
    top1: float | None = None
    """Per cent, after the last epoch."""
    top5: float | None = None
    best_top1: float | None = None
    num_labels: int | None = None
    """Labelled training images."""
    start: str | None = None
    """Where the encoder came from; "scratch" if nowhere."""
    bad_samples: int = 0
    """Images that could not be decoded and were replaced by others, over all epochs."""
    lives: int = 1
    """Times the run was started."""
    seconds: float = 0.0
    """Spent training in the last life."""


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as file:
        file.write(text.encode())


def write_summary(folder: RunFolder, summary: Summary) -> None:
    """Write `summary.json`."""
    write_text(folder.summary, json.dumps(asdict(summary), indent=2) + "\n")


def read_summary(folder: RunFolder) -> Summary | None:
    """Return the summary of a finished run, or None while there is none.

    Raises:
        ValueError: If the file is there and is not a summary.
    """
    if not folder.summary.is_file():
        return None
    try:
        fields: dict[str, Any] = json.loads(folder.summary.read_text(encoding="utf-8"))
        return Summary(**fields)
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{folder.summary} is not a summary of this version: {error}") from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines; what a killed process did not finish, or a missing file, is passed over."""
    if not path.is_file():
        return []
    found = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict):
            found.append(line)
    return found


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of one JSON object; nothing where there is none, or it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def last_step(folder: RunFolder) -> int:
    """Return the step of the last checkpoint, 0 if there is none."""
    saved = read_lines(folder.checkpoints)
    return int(saved[-1].get("step", 0)) if saved else 0


def require_same_shards(known: dict[str, Any], shards: dict[str, Any]) -> None:
    """Refuse to go on with other shards than those a run has begun with.

    Raises:
        ValueError: If they are others.
    """
    for name, before in known.items():
        if shards[name] != before:
            raise ValueError(
                f"the training shards changed: {name} was {before}, is {shards[name]}; put the old "
                "shards back, or go on with the new ones on purpose with --resume-from"
            )


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line and hand it to the system, so that a killed process keeps it.

    A last line that a killed process did not finish stays a line of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        torn = file.seek(0, os.SEEK_END) > 0
        if torn:
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
        file.write(("\n" * torn + json.dumps(record) + "\n").encode())
