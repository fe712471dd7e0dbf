"""What a training step of each method costs: measured in turns, and counted."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from figures import quartiles
from methods_plan import BATCH, Cost, pretrain_words
from methods_table import BASE, METHODS, NONE, timed_of
from quality_plan import Task
from torch import Tensor, nn
from train_step import Given, TrainStep, timed_ms, turns

import ssl_swin
from ssl_swin.command_line import read_config
from ssl_swin.data.order.lanes import Share
from ssl_swin.models.flops import count_flops
from ssl_swin.runs.build import build
from ssl_swin.training.learner import Learner

WARMUP_ROUNDS = 2  # not counted
START = "START"  # stands for the start's run folder in the words that are kept


@dataclass(frozen=True)
class Measured:
    """What was found of one method."""

    words: list[list[str]]
    """What its pretraining was told beside, for each kind of its steps."""
    ms: list[float]
    """Of a step of `BATCH` images: the lower quartile, the median and the upper quartile."""
    ratio: list[float]
    """Likewise of a step of the base in the same round, which is 1."""
    gflop: float
    """Of a step, for an image: products and attention, forward and backward, a teacher's too."""


class _Loss(nn.Module):
    """A pretraining's loss, drawing of masks included, as the network that `TrainStep` takes."""

    def __init__(self, module: Learner) -> None:
        super().__init__()
        self.module, self.epoch = module, 0

    def forward(self, image: Tensor, index: Tensor) -> Tensor:
        """Return the loss with masks that no earlier call had."""
        epoch = torch.full_like(index, self.epoch)
        self.epoch += 1
        return self.module.loss({"image": image, "index": index, "epoch": epoch})


@dataclass
class Kind:
    """One kind of steps of a method, ready to be taken."""

    share: float
    step: TrainStep
    gflop: float
    ms: list[float]


def words_of(name: str, task: str, start: str = START) -> list[list[str]]:
    """Return what a method's pretraining is told beside, for each kind of its steps."""
    return [list(words) for _, words in timed_of(METHODS[name], task, start)]


def calibrate(
    task: Task, data: Path, names: Sequence[str], rounds: int, more: Sequence[str]
) -> dict[str, Measured]:
    """Measure methods and the base in turns, in this process, on the device of their runs.

    A start has drawn weights: that changes no time.
    """
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        start = Path(folder) / "start.safetensors"
        words = [*pretrain_words(task, data, BATCH)[1:], *more, "--run-dir", f"{folder}/run"]
        config, _ = read_config("pretrain", words)
        if config.training.num_threads is not None:
            torch.set_num_threads(config.training.num_threads)
        with redirect_stderr(StringIO()):
            encoder = build(config).encoder
            ssl_swin.save_encoder(encoder, start, config.data.mean, config.data.std)
            kinds = {
                name: [
                    _kind(share, [*words, *changes])
                    for share, changes in timed_of(METHODS[name], task.name, str(start))
                ]
                for name in dict.fromkeys((BASE, *names))
                if name != NONE
            }
        _take_turns([kind for several in kinds.values() for kind in several], rounds)
    return {name: _measured(words_of(name, task.name), kinds, name) for name in kinds}


def _kind(share: float, words: Sequence[str]) -> Kind:
    config, _ = read_config("pretrain", list(words))
    run = build(config)
    run.module.to(run.device)
    batch = run.stream.read(Share(0, np.arange(BATCH)))
    given = Given(batch["image"].to(run.device), batch["index"].to(run.device))
    loss = _Loss(run.module)
    flops = count_flops(lambda: loss(*given).backward())
    loss.zero_grad(set_to_none=True)
    step = TrainStep(loss, given, config.training.precision == "bf16")
    return Kind(share, step, flops / BATCH / 1e9, [])


def _take_turns(kinds: Sequence[Kind], rounds: int) -> None:
    for number in range(WARMUP_ROUNDS + rounds):
        for place in turns(number, len(kinds)):
            ms = timed_ms(kinds[place].step)
            if number >= WARMUP_ROUNDS:
                kinds[place].ms.append(ms)


def _measured(words: list[list[str]], kinds: Mapping[str, list[Kind]], name: str) -> Measured:
    of = {each: _rounds(kinds[each]) for each in (name, BASE)}
    ratio = [mine / bases for mine, bases in zip(of[name], of[BASE], strict=True)]
    gflop = sum(kind.share * kind.gflop for kind in kinds[name])
    return Measured(words, list(quartiles(of[name])), list(quartiles(ratio)), gflop)


def _rounds(kinds: Sequence[Kind]) -> list[float]:
    """Return the milliseconds of each round, of the kinds by their shares."""
    each = zip(*(kind.ms for kind in kinds), strict=True)
    return [sum(k.share * ms for k, ms in zip(kinds, row, strict=True)) for row in each]


def costs_of(measured: Mapping[str, Measured]) -> dict[str, Cost]:
    """Return seconds and FLOPs of an image; seconds are those of the base, times the ratio.

    A ratio whose quartiles have 1 between them cannot be told from 1, and is taken as 1.
    """
    base_s = measured[BASE].ms[1] / 1000 / BATCH
    found = {}
    for name, one in measured.items():
        low, middle, high = one.ratio
        ratio = 1.0 if low <= 1 <= high else middle
        found[name] = Cost(base_s * ratio, one.gflop * 1e9)
    return found | {NONE: found[BASE]}


def outdated(measured: Mapping[str, Measured], names: Sequence[str], task: str) -> list[str]:
    """Return the methods that have not been measured, or with other settings than they have now."""
    return [
        name
        for name in names
        if name != NONE and (name not in measured or measured[name].words != words_of(name, task))
    ]


def write(path: Path, about: Mapping[str, object], measured: Mapping[str, Measured]) -> None:
    """Keep what was measured, and where."""
    found = {name: asdict(one) for name, one in measured.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**about, "methods": found}, indent=1) + "\n", encoding="utf-8")


def read_measured(path: Path) -> dict[str, Measured]:
    """Return what was measured; nothing where there is no such file."""
    if not path.is_file():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))["methods"]
    return {name: Measured(**one) for name, one in found.items()}
