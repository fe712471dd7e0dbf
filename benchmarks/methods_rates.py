"""Which learning rate each method has: of a few, the one with the least loss at the end.

No label and no test image is looked at. Losses of one method are held against each other, never
those of two.
"""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from methods_plan import FACTORS, PASSES, Plan
from methods_table import NONE

Losses = dict[str, dict[float, float]]  # method -> factor of the task's rate -> loss


class Rates(NamedTuple):
    """What has been found, and on which task."""

    task: str
    losses: Losses


def last_loss(run: Path) -> float | None:
    """Return the mean of the training loss over a run's last epoch; None if it has not ended."""
    if not (run / "summary.json").is_file():
        return None
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    points = [point for point in map(json.loads, lines) if "train/loss" in point]
    return statistics.mean(
        point["train/loss"] for point in points if point["train/epoch"] > PASSES - 1
    )


def losses(plan: Plan) -> Losses:
    """Return what is known of each method: of those that have been tried with all rates."""
    found: Losses = {}
    for name in plan.methods:
        each = {run.factor: last_loss(plan.encoder(run)) for run in plan.tried(name)}
        known = {factor: loss for factor, loss in each.items() if loss is not None}
        if known and len(known) == len(each):
            found[name] = known
    return found


def chosen(found: Losses) -> dict[str, float]:
    """Return the factor of each method's rate."""
    return {name: min(each, key=lambda factor: each[factor]) for name, each in found.items()}


def lacking(found: Losses, names: Sequence[str]) -> list[str]:
    """Return the methods for which no rate has been chosen."""
    return [name for name in names if name != NONE and name not in found]


def write(path: Path, about: Mapping[str, object], found: Losses) -> None:
    """Keep what was found, and where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**about, "losses": found}, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> Rates:
    """Return what was found; nothing where there is no such file."""
    if not path.is_file():
        return Rates("", {})
    kept = json.loads(path.read_text(encoding="utf-8"))
    return Rates(
        kept["task"],
        {
            name: {float(factor): loss for factor, loss in each.items()}
            for name, each in kept["losses"].items()
        },
    )


def table(found: Losses) -> Iterator[str]:
    """Say the losses of each method, the least in bold."""
    yield f"| method | {' | '.join(f'rate x {factor:g}' for factor in FACTORS)} |"
    yield "|---" * (1 + len(FACTORS)) + "|"
    factors = chosen(found)
    for name, each in found.items():
        cells = [
            f"**{loss:.4f}**" if factor == factors[name] else f"{loss:.4f}"
            for factor, loss in each.items()
        ]
        yield f"| {name} | {' | '.join(cells)} |"


def page(task: str, found: Losses) -> list[str]:
    """Say how rates were chosen, by which losses, and which may be too large still."""
    least = [name for name, factor in chosen(found).items() if factor == min(FACTORS)]
    said = ", ".join(least)
    return [
        "## Learning rates of pretraining",
        "",
        f"Chosen on {task}: times the task's rate, which was chosen for its config. Losses are the",
        "mean over the last epoch of the first seed; those of two methods are not alike. "
        + (
            f"Where the least rate is best, a less one may be better still: {said}."
            if least
            else ""
        ),
        "",
        *table(found),
    ]
