"""Which runs `quality.py` is made of, as commands of this program; each has a folder of its own."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

from jobs import Job

ARMS = ("scratch", "pretrained")
SHARES = {1: 3, 10: 3, 100: 1}  # per cent of the labels -> draws of them for each pretraining
MAIN = "recipe"


class Length(NamedTuple):
    """How long a fine-tuning is, with a share of the labels."""

    epochs: int
    global_batch_size: int


class Drawn(NamedTuple):
    """Which labels a fine-tuning has."""

    share: int  # per cent
    seed: int  # of the pretraining
    draw: int  # counted from 0


@dataclass(frozen=True)
class Task:
    """A set of labelled images, and what is done to it."""

    name: str
    config: str
    """Of the pretraining, by name."""
    pretrain: tuple[str, ...]
    """What it is told beside."""
    finetune: tuple[str, ...]
    """What both arms are told."""
    network: tuple[str, ...]
    """What an arm is told that has no encoder."""
    num_labels: int
    """Of the training images, all of them."""
    lengths: dict[int, Length]
    """By the share of labels, in per cent."""
    rates: dict[str, float]
    """Learning rate of each arm, of a step; chosen on training images."""
    ablations: dict[str, tuple[str, ...]]
    """Row -> what its pretraining is told beside."""
    reference: str
    """The row that all others of no other length differ from in one thing."""

    def train(self, data: Path) -> str:
        """Return the labelled training shards."""
        return str(data / "train" / "train-*.tar")

    def labels_of(self, share: int) -> str:
        """Return how many labels a share is, rounded."""
        return str(math.floor(self.num_labels * share / 100 + 0.5))

    def finetuning(
        self, data: Path, encoder: Path | None, drawn: Drawn, place: Path
    ) -> tuple[str, ...]:
        """Return the command that fine-tunes an encoder, or a new one, with a share of labels.

        The test images are read once, at its end.
        """
        share, seed, draw = drawn
        length, test = self.lengths[share], str(data / "test")
        arm = "scratch" if encoder is None else "pretrained"
        rate = float(f"{self.rates[arm] * 512 / length.global_batch_size:.3g}")
        start = (*self.network, "--optim.layer-decay", "1.0")
        if encoder is not None:
            start = ("--encoder", str(encoder), "--optim.layer-decay", "0.75")
        few = () if share == 100 else ("--data.num-labels", self.labels_of(share))
        return (
            *("finetune", *start, *self.finetune, "--data.shards", self.train(data)),
            *("--data.val-shards", test, *few),
            *("--optim.epochs", str(length.epochs), "--optim.base-lr", str(rate)),
            *("--optim.warmup-epochs", str(length.epochs // 10)),
            *("--training.global-batch-size", str(length.global_batch_size)),
            *("--training.validate-every-epochs", str(length.epochs)),
            *("--seed", str(seed + 1000 * draw), "--run-dir", str(place)),
        )

    def classified(self, data: Path, place: Path) -> tuple[tuple[str, ...], Path]:
        """Return the command that says the class of each test image, and the file it ends with."""
        words = ("evaluate", str(place), "--data", str(data / "test"))
        return words, place / "evaluation" / "test" / "summary.json"


def _changed(**settings: object) -> tuple[str, ...]:
    """As flags, `__` for a dot."""
    flags = [(f"--{name.replace('__', '.')}", str(value)) for name, value in settings.items()]
    return tuple(word for flag in flags for word in flag)


def _epochs(num: int) -> tuple[str, ...]:
    return _changed(optim__epochs=num, optim__warmup_epochs=num / 10)


_PART = _epochs(9)  # of the recipe's 28
CLOTHING = Task(
    name="clothing",
    config="photographs_cpu",
    pretrain=("--data.val-shards", "null", "--training.panel-every-epochs", "13"),
    finetune=("--data.crop-scale", "[0.4,1.0]", "--num-classes", "14"),
    network=(
        *("--model.name", "swin_tiny_patch4_window7_224", "--model.img-size", "96"),
        *("--model.patch-size", "8", "--model.window-size", "6", "--model.embed-dim", "96"),
        *("--model.depths", "[2,4]", "--model.num-heads", "[3,6]"),
    ),
    num_labels=3626,
    lengths={1: Length(200, 16), 10: Length(50, 32), 100: Length(20, 64)},
    rates={"scratch": 7e-4, "pretrained": 1.41e-3},
    ablations={
        "9 epochs": _PART,
        "mask ratio 0.4": _PART + _changed(mask__mask_ratio=0.4),
        "mask ratio 0.75": _PART + _changed(mask__mask_ratio=0.75),
        "mask patch 8": _PART + _changed(mask__mask_patch_size=8),
        "mask patch 32": _PART + _changed(mask__mask_patch_size=32),
        "normalised pixels": _PART + _changed(target__kind="normalised_pixels"),
        "crop scale 0.2": _PART + _changed(data__crop_scale="[0.2,1.0]"),
        "crop scale 0.8": _PART + _changed(data__crop_scale="[0.8,1.0]"),
        "18 epochs": _epochs(18),
        "56 epochs": _epochs(56),
    },
    reference="9 epochs",
)
_PIXELS = (
    *("--data.mean", "[0.286]", "--data.std", "[0.353]", "--data.crop-scale", "[0.8,1.0]"),
    *("--data.hflip", "0", "--data.crop-pct", "1", "--data.rand-augment", ""),
)
FASHION = Task(
    name="fashion-mnist",
    config="demo",
    pretrain=("--data.val-shards", "null", *_epochs(3)),
    finetune=(*_PIXELS, "--num-classes", "10"),
    network=(
        *("--model.name", "swin_tiny_patch4_window7_224", "--model.img-size", "32"),
        *("--model.patch-size", "4", "--model.window-size", "8", "--model.embed-dim", "48"),
        *("--model.depths", "[2,2]", "--model.num-heads", "[3,6]"),
    ),
    num_labels=60_000,
    lengths={1: Length(40, 20), 10: Length(10, 64), 100: Length(3, 128)},
    rates={"scratch": 2e-3, "pretrained": 4e-3},  # the demo's
    ablations={
        "1 epoch": _epochs(1),
        "mask ratio 0.4": _epochs(1) + _changed(mask__mask_ratio=0.4),
        "mask ratio 0.75": _epochs(1) + _changed(mask__mask_ratio=0.75),
        "mask patch 4": _epochs(1) + _changed(mask__mask_patch_size=4),
        "mask patch 16": _epochs(1) + _changed(mask__mask_patch_size=16),
        "normalised pixels": _epochs(1) + _changed(target__kind="normalised_pixels"),
        "crop scale 0.4": _epochs(1) + _changed(data__crop_scale="[0.4,1.0]"),
        "6 epochs": _epochs(6),
    },
    reference="1 epoch",
)
TASKS = {task.name: task for task in (CLOTHING, FASHION)}


@dataclass(frozen=True)
class Plan:
    """All commands of a task, in an order in which each finds what it needs."""

    task: Task
    data: Path
    out: Path
    num_seeds: int
    more: tuple[str, ...]
    """What both trainings are told beside, such as `--training.precision bf16`."""

    def jobs(self) -> Iterator[Job]:
        """Yield the main row, share by share, then what each change of it does."""
        for seed in range(self.num_seeds):
            yield self.pretraining(MAIN, seed, ())
        for share in (10, 1, 100):
            for draw, seed, arm in product(range(SHARES[share]), range(self.num_seeds), ARMS):
                yield from self.finetuning(MAIN, arm, Drawn(share, seed, draw))
        for seed in range(self.num_seeds):
            yield self.frozen(MAIN, seed)
        for row, changes in self.task.ablations.items():
            yield self.pretraining(row, 0, changes)
            yield from self.finetuning(row, "pretrained", Drawn(10, 0, 0))
            yield self.frozen(row, 0)

    def folder(self, row: str) -> Path:
        """Return where the runs of a row are."""
        return self.out / row.replace(" ", "-")

    def tuned(self, row: str, arm: str, drawn: Drawn) -> Path:
        """Return the run folder of a fine-tuning."""
        share, seed, draw = drawn
        name = f"finetune-{arm}-{share}-seed{seed}"
        return self.folder(row) / (f"{name}-draw{draw}" if draw else name)

    def pretraining(self, row: str, seed: int, changes: tuple[str, ...]) -> Job:
        """Pretrain on all images of `train`, labelled or not."""
        place = self.folder(row) / f"pretrain-seed{seed}"
        words = (
            *("pretrain", self.task.config, "--data.shards", str(self.data / "train")),
            *(*self.task.pretrain, *changes, "--seed", str(seed), "--run-dir", str(place)),
        )
        return self._job("pretrain", row, words, place / "summary.json")

    def finetuning(self, row: str, arm: str, drawn: Drawn) -> Iterator[Job]:
        """Fine-tune with a share of the labels; the test images are read once, at its end.

        They are read once more for the class of each, by the same weights.
        """
        place = self.tuned(row, arm, drawn)
        pretrained = self.folder(row) / f"pretrain-seed{drawn.seed}"
        encoder = pretrained if arm == "pretrained" else None
        words = self.task.finetuning(self.data, encoder, drawn, place)
        yield self._job("finetune", row, words, place / "summary.json")
        yield self._job("finetune", row, *self.task.classified(self.data, place))

    def frozen(self, row: str, seed: int) -> Job:
        """Measure frozen features, beside those of the same network untrained."""
        place, encoder = self.folder(row) / f"frozen-seed{seed}", f"pretrain-seed{seed}"
        words = (
            *("evaluate", str(self.folder(row) / encoder), "random", "--seed", str(seed)),
            *("--data", self.task.train(self.data), "--test", str(self.data / "test")),
            *("-o", str(place)),
        )
        return self._job("frozen", row, words, place / "summary.json")

    def _job(self, part: str, row: str, words: tuple[str, ...], done: Path) -> Job:
        trains = words[0] in ("pretrain", "finetune")
        words = words + self.more if trains else words
        return Job(part if row == MAIN else "ablations", words, done)
