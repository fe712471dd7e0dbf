"""What the runs of `methods.py` have found so far: tables of Markdown, sentences and a plot."""

import statistics
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from figures import mean_and_sd
from interval_plot import Bar, intervals
from methods_plan import NUM_IMAGES, TUNED, Plan
from methods_table import BASE, NONE
from paired import Found, bootstrap_interval, gained, over_draws, read, right, t_interval

MISSING = "-"
FROZEN = {"20 neighbours": "knn20", "probe": "probe"}
SHARE = {f"fine-tuned, {share} %": share for share in TUNED}
COLUMNS = (*FROZEN, *SHARE)
Ends = tuple[float, float]


class Gain(NamedTuple):
    """How much better a method is than the base in one column, points."""

    mean: float
    seeds: Ends | None
    """95 % interval over seeds; None of one alone."""
    images: Ends | None
    """95 % interval over test images."""

    @property
    def between(self) -> Ends | None:
        """What both intervals span, or the one that is known."""
        ends = [end for interval in (self.seeds, self.images) for end in interval or ()]
        return (min(ends), max(ends)) if ends else None

    @property
    def sign(self) -> int:
        """1 if both intervals are above 0, -1 if both are below, else 0."""
        if self.seeds is None or self.images is None or self.between is None:
            return 0
        low, high = self.between
        return 1 if low > 0 else -1 if high < 0 else 0


def found(plan: Plan, name: str, column: str) -> Found:
    """Return the top-1 of each seed and draw of labels."""
    values: dict[int, dict[int, float]] = {}
    for seed in range(plan.num_seeds):
        if column in FROZEN:
            summary = _frozen(plan, name, seed)
            if summary:
                values[seed] = {0: summary["subjects"][0]["measures"][FROZEN[column]]}
            continue
        for draw in range(plan.num_draws if SHARE[column] < 100 else 1):
            tuned = plan.tuned(plan.run(name, seed), SHARE[column], draw)
            if (of_run := read(tuned / "summary.json")) is not None:
                values.setdefault(seed, {})[draw] = of_run["top1"]
    return values


def gain(plan: Plan, name: str, column: str) -> Gain | None:
    """Return what a method gains in a column; None before it and the base have a seed in common."""
    gains = gained(found(plan, name, column), found(plan, BASE, column))
    if not gains:
        return None
    means = over_draws(gains)
    of = _over_frozen if column in FROZEN else _over_tuned
    return Gain(statistics.mean(means), t_interval(means), of(plan, name, column, gains))


def _over_frozen(plan: Plan, name: str, column: str, gains: Found) -> Ends | None:
    """Return the mean of the seeds' own intervals, which is wider than that of their mean."""
    each = []
    for seed in gains:
        summary = _frozen(plan, name, seed) or {}
        each += [
            (one["low"], one["high"])
            for one in summary.get("differences", [])
            if one["measure"] == FROZEN[column]
        ]
    low, high = np.mean(each, axis=0) if each else (0.0, 0.0)
    return (float(low), float(high)) if each else None


def _over_tuned(plan: Plan, name: str, column: str, gains: Found) -> Ends | None:
    known = []
    for seed, draws in gains.items():
        for draw in draws:
            pair = [
                right(plan.tuned(plan.run(each, seed), SHARE[column], draw))
                for each in (name, BASE)
            ]
            if pair[0] is not None and pair[1] is not None:
                known.append(pair[0] - pair[1])
    return bootstrap_interval(np.mean(known, axis=0)) if known else None


def _frozen(plan: Plan, name: str, seed: int) -> dict[str, Any] | None:
    return read(plan.features(plan.run(name, seed)) / "summary.json")


def top1s(plan: Plan) -> Iterator[str]:
    """Say what each method was given, and what it reaches."""
    heads = "method", "rate", "images", "epochs", "seconds", "TFLOP", "seeds", *COLUMNS
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for name in plan.methods:
        each = [found(plan, name, column) for column in COLUMNS]
        if not any(each):
            continue
        spent, images = plan.spent(name), plan.spent_images(name)
        cells = [
            MISSING if name == NONE else f"{plan.factors.get(name, 1.0):g}",
            *(f"{images:,}", f"{images / NUM_IMAGES[plan.task.name]:.1f}"),
            *(f"{spent.seconds:,.0f}", f"{spent.flops / 1e12:,.1f}", str(max(map(len, each)))),
            *(mean_and_sd(over_draws(one)) for one in each),
        ]
        yield f"| {_bold(name)} | {' | '.join(cells)} |"


def _bold(name: str) -> str:
    return f"**{name}**" if name == BASE else name


Gains = dict[str, dict[str, Gain]]  # column -> method -> gain


def all_gains(plan: Plan) -> Gains:
    """Return what is known of all methods but the base."""
    others = [name for name in plan.methods if name != BASE]
    return {
        column: {name: one for name in others if (one := gain(plan, name, column)) is not None}
        for column in COLUMNS
    }


def differences(gains: Gains) -> Iterator[str]:
    """Say what each method gains, and how sure that is."""
    yield f"| method | {' | '.join(COLUMNS)} |"
    yield "|---" * (1 + len(COLUMNS)) + "|"
    for name in dict.fromkeys(name for of in gains.values() for name in of):
        each = [gains[column].get(name) for column in COLUMNS]
        yield f"| {name} | {' | '.join(map(_cell, each))} |"


def _cell(one: Gain | None) -> str:
    if one is None:
        return MISSING
    mean = f"{one.mean:+.1f}"
    return f"{f'**{mean}**' if one.sign else mean}; {_ends(one.seeds)}; {_ends(one.images)}"


def _ends(ends: Ends | None) -> str:
    return MISSING if ends is None else f"{ends[0]:+.1f} to {ends[1]:+.1f}"


def verdict(gains: Gains) -> Iterator[str]:
    """Say of each column which method is worth it; and which is in any, and worse in none."""
    for column, of in gains.items():
        yield f"- {column}: {_column_verdict(of)}."
    if any(one.seeds and one.images for of in gains.values() for one in of.values()):
        worth = ", ".join(_worth(gains)) or f"nothing more than {BASE}"
        yield f"- Worth it, so far, for it gains somewhere and loses nowhere: {worth}."


def _column_verdict(of: Mapping[str, Gain]) -> str:
    known = {name: one for name, one in of.items() if one.seeds and one.images}
    if not known:
        return "nothing can be told yet, which takes two seeds and their test images"
    better = [name for name, one in known.items() if one.sign > 0]
    worse = [name for name, one in known.items() if one.sign < 0]
    said = "no gain that these seeds can tell"
    if better:
        best = max(better, key=lambda name: known[name].mean)
        said = f"{best} gains most, {known[best].mean:+.1f} ({_ends(known[best].seeds)})"
        if others := [name for name in better if name != best]:
            said += f"; so do, less, {', '.join(others)}"
    return f"{said}; worse: {', '.join(worse)}" if worse else said


def _worth(gains: Gains) -> list[str]:
    """Return the methods that gain in one column at least, and lose in none."""
    signs: dict[str, set[int]] = {}
    for of in gains.values():
        for name, one in of.items():
            signs.setdefault(name, set()).add(one.sign)
    return [name for name, each in signs.items() if 1 in each and -1 not in each]


def plot(plan: Plan, gains: Gains) -> str | None:
    """Draw what is gained in the columns of which anything is known; None if there is none."""
    series = {
        column: {name: Bar(one.mean, one.between, one.sign != 0) for name, one in of.items()}
        for column, of in gains.items()
        if of
    }
    title = f"{plan.task.name}: gained over {BASE}, points, at equal {plan.equal}"
    below = "bars: 95 % over seeds and over test images; blue where both leave 0 out"
    return intervals(title, below, series) if series else None
