"""Which runs `methods.py` is made of: as many images for each method as its compute allows."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from jobs import Job
from methods_table import BASE, METHODS, NONE, SIZES, Method, changes_of, network_of
from quality_plan import SHARES, Drawn, Task

ARMS = ("seconds", "flops")
PASSES = 10  # of each pretraining: an epoch has a tenth of its images, the first of them warms up
BATCH = 32  # images of a step, of all methods
TUNED = (10, 100)  # per cent of the labels
FACTORS = (1.0, 0.5, 0.25)  # of the task's learning rate, which are tried for each method
NUM_IMAGES = {"clothing": 4305, "fashion-mnist": 60_000}  # to pretrain on: an epoch
EPOCHS = {"clothing": 9, "fashion-mnist": 1}  # of the base's pretraining: the budget, as of the
# ablations of `quality.py`
BASE_LR = {"clothing": 0.024, "fashion-mnist": 0.064}  # of the configs, chosen for the base


class Cost(NamedTuple):
    """What a training step costs, for each image."""

    seconds: float
    flops: float


class Run(NamedTuple):
    """One pretraining of a method."""

    method: str
    images: int
    seed: int
    factor: float = 1.0
    """Of the task's learning rate."""


@dataclass(frozen=True)
class Plan:
    """All commands for some methods, in an order in which each finds what it needs."""

    task: Task
    data: Path
    out: Path
    num_seeds: int
    equal: str
    """What is equal: one of `ARMS`."""
    costs: Mapping[str, Cost]
    """By method, with the base."""
    epochs: int
    """Of the base's pretraining, which is the budget."""
    methods: Sequence[str]
    """Which of them; the base is with them."""
    more: tuple[str, ...] = ()
    """What both trainings are told beside, such as `--training.num-threads 1`."""
    num_draws: int = SHARES[10]
    factors: Mapping[str, float] = field(default_factory=dict)
    """Of the task's learning rate, by method; 1 of others."""

    def tried(self, name: str) -> list[Run]:
        """Return the pretrainings of a method, of the first seed, of which one chooses its rate."""
        if name == NONE:
            return []
        return [self.run(name, 0)._replace(factor=factor) for factor in FACTORS]

    def tries(self, names: Iterable[str]) -> Iterator[Job]:
        """Yield what has to be run to choose a rate for each."""
        return self._pretrainings(run for name in names for run in self.tried(name))

    def jobs(self) -> Iterator[Job]:
        """Yield seed by seed: all pretrainings, frozen features, 10 % of the labels.

        Then all labels, which take longest, and other draws.
        """
        for seed in range(self.num_seeds):
            runs = [self.run(name, seed) for name in self.methods]
            yield from self._pretrainings(run for run in runs if run.method != NONE)
            yield from map(self.frozen, runs)
            yield from self._finetunings(seed, 10, 0)
        for seed in range(self.num_seeds):
            yield from self._finetunings(seed, 100, 0)
        for draw in range(1, self.num_draws):
            for seed in range(self.num_seeds):
                yield from self._finetunings(seed, 10, draw)

    def _finetunings(self, seed: int, share: int, draw: int) -> Iterator[Job]:
        for name in self.methods:
            yield from self.finetuning(self.run(name, seed), share, draw)

    @cached_property
    def images(self) -> dict[str, int]:
        """Images that each method is pretrained with, its start not among them."""
        return {name: self._images(METHODS[name], self.ratio(name)) for name in self.methods}

    def ratio(self, name: str) -> float:
        """Return how much dearer a step is than one of the base, in what is equal.

        To two digits, so that both arms share the runs of methods that cost the same.
        """
        one, base = (getattr(self.costs[each], self.equal) for each in (name, BASE))
        return round(one / base, 2)

    def start_images(self, method: Method) -> int:
        """Return how many images the run of the base before has."""
        return self._rounded(method.start_share)

    def _images(self, method: Method, ratio: float) -> int:
        return self._rounded((1 - method.start_share) / ratio)

    def _rounded(self, share: float) -> int:
        """Return the number of images, nearest to this share of the budget, of whole steps."""
        step = BATCH * PASSES
        return max(1, round(self.epochs * NUM_IMAGES[self.task.name] * share / step)) * step

    def spent(self, name: str) -> Cost:
        """Return what a pretraining of a method costs in all, with its start."""
        if name == NONE:
            return Cost(0.0, 0.0)
        own, base = self.costs[name], self.costs[BASE]
        images, before = self.images[name], self._before(name)
        each = zip(own, base, strict=True)
        return Cost(*(images * mine + before * bases for mine, bases in each))

    def spent_images(self, name: str) -> int:
        """Return how many images a pretraining has seen in all, its start's among them."""
        return 0 if name == NONE else self.images[name] + self._before(name)

    def _before(self, name: str) -> int:
        method = METHODS[name]
        return self.start_images(method) if method.start_share else 0

    def run(self, name: str, seed: int) -> Run:
        """Return the pretraining of a method; of none it is not made, and as long as the base's."""
        return Run(name, self.images[name], seed, self.factors.get(name, 1.0))

    def start(self, method: Method, seed: int) -> Run:
        """Return the run of the base that a method begins with."""
        return self.run(BASE, seed)._replace(images=self.start_images(method))

    def place(self, run: Run) -> Path:
        """Return the folder that all runs of a pretraining are in."""
        folder = self.out / run.method.replace(",", "").replace(" ", "-")
        rate = "" if run.factor == 1 else f"-rate{run.factor:g}"
        return folder / f"{run.images}-seed{run.seed}{rate}"

    def encoder(self, run: Run) -> Path:
        """Return the run folder of a pretraining."""
        return self.place(run) / "pretrain"

    def tuned(self, run: Run, share: int, draw: int) -> Path:
        """Return the run folder of a fine-tuning."""
        return self.place(run) / f"finetune-{share}-draw{draw}"

    def _pretrainings(self, runs: Iterable[Run]) -> Iterator[Job]:
        """Yield each once, and starts before all that need them."""
        given: dict[Path, Job] = {}
        for run in runs:
            method = METHODS[run.method]
            needed = [self.start(method, run.seed)] if method.start_share else []
            for job in map(self.pretraining, [*needed, run]):
                given.setdefault(job.done, job)
        yield from given.values()

    def pretraining(self, run: Run) -> Job:
        """Pretrain on images of `train`, labelled or not."""
        method, place = METHODS[run.method], self.encoder(run)
        start = self.encoder(self.start(method, run.seed))
        changes = changes_of(method, self.task.name, str(start))
        if run.factor != 1:
            changes += ("--optim.base-lr", f"{BASE_LR[self.task.name] * run.factor:g}")
        words = (
            *pretrain_words(self.task, self.data, run.images // PASSES),
            *(*changes, "--seed", str(run.seed), "--run-dir", str(place), *self.more),
        )
        return Job("pretrain", words, place / "summary.json")

    def features(self, run: Run) -> Path:
        """Return the folder of what was measured of frozen features, beside the base's."""
        factor = self.factors.get(BASE, 1.0)
        return self.place(run) / ("frozen" if factor == 1 else f"frozen-beside-rate{factor:g}")

    def frozen(self, run: Run) -> Job:
        """Measure frozen features beside those of the base with the same seed."""
        base, method = self.encoder(self.run(BASE, run.seed)), METHODS[run.method]
        names = [str(base)] if run.method == BASE else [str(self.encoder(run)), str(base)]
        if run.method == NONE:
            names = ["random", str(base)]
        size = ("--img-size", SIZES[self.task.name]["img_size"]) if method.img_size else ()
        place = self.features(run)
        words = (
            *("evaluate", *names, "--seed", str(run.seed), "--measures", "knn,probe"),
            *(*size, "--data", self.task.train(self.data), "--test", str(self.data / "test")),
            *("--cache-dir", str(self.out / "cache"), "-o", str(place)),
        )
        return Job("frozen", words, place / "summary.json")

    def finetuning(self, run: Run, share: int, draw: int) -> Iterator[Job]:
        """Fine-tune with a share of the labels, as `quality.py` does, and say all classes."""
        place, drawn = self.tuned(run, share, draw), Drawn(share, run.seed, draw)
        encoder = None if run.method == NONE else self.encoder(run)
        words = self.task.finetuning(self.data, encoder, drawn, place)
        words += (*network_of(METHODS[run.method], self.task.name), *self.more)
        yield Job("finetune", words, place / "summary.json")
        yield Job("finetune", *self.task.classified(self.data, place))


def pretrain_words(task: Task, data: Path, samples_per_epoch: int) -> tuple[str, ...]:
    """Return the base's pretraining, without seed and run folder, in `PASSES` epochs."""
    return (
        *("pretrain", task.config, *task.pretrain, "--data.shards", "null"),
        *("--data.sets", json.dumps([{"shards": str(data / "train"), "weight": 1}])),
        *("--data.samples-per-epoch", str(samples_per_epoch), "--data.labelled-shards", "null"),
        *("--optim.epochs", str(PASSES), "--optim.warmup-epochs", "1"),
        *("--training.panel-every-epochs", "0", "--training.monitor-every-epochs", "0"),
    )
