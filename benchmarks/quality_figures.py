"""What the runs of `quality.py` have found so far: tables of Markdown, and a plot."""

import statistics
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from figures import mean_and_sd
from line_plot import curves
from paired import bootstrap_interval, gained, over_draws, read, right, t_interval
from quality_plan import ARMS, MAIN, SHARES, Drawn, Plan

MISSING = "-"


def top1(plan: Plan, arm: str, share: int) -> dict[int, dict[int, float]]:
    """Return the top-1 of each seed and draw that has been fine-tuned."""
    found: dict[int, dict[int, float]] = {}
    for seed, draw in product(range(plan.num_seeds), range(SHARES[share])):
        summary = read(plan.tuned(MAIN, arm, Drawn(share, seed, draw)) / "summary.json")
        if summary is not None:
            found.setdefault(seed, {})[draw] = summary["top1"]
    return found


def finetuned(plan: Plan) -> Iterator[str]:
    """Say what fine-tuning gives with each share of labels, with and without pretraining."""
    yield "| labels | from scratch | pretrained | difference | over seeds | over test images |"
    yield "|---|---|---|---|---|---|"
    for share in SHARES:
        arms = {arm: top1(plan, arm, share) for arm in ARMS}
        gains = gained(arms["pretrained"], arms["scratch"])
        differences = over_draws(gains)
        pairs = [(seed, draw) for seed, draws in gains.items() for draw in sorted(draws)]
        known = [gain for pair in pairs if (gain := _gain(plan, Drawn(share, *pair))) is not None]
        images = bootstrap_interval(np.mean(known, axis=0)) if known else None
        cells = [
            f"{share} %: {plan.task.labels_of(share)}",
            *(mean_and_sd(over_draws(arms[arm])) for arm in ARMS),
            f"{statistics.mean(differences):+.1f}" if differences else MISSING,
            _between(t_interval(differences)),
            _between(images),
        ]
        yield f"| {' | '.join(cells)} |"


def _gain(plan: Plan, drawn: Drawn) -> np.ndarray | None:
    """Return what is gained on each test image, in points; None before both arms are evaluated."""
    before, after = (right(plan.tuned(MAIN, arm, drawn)) for arm in ARMS)
    return None if before is None or after is None else after - before


def frozen(plan: Plan, rows: Sequence[str]) -> Iterator[str]:
    """Say what frozen features give, in the rows that have been measured."""
    yield "| | features | 20 neighbours | probe, all labels | 10 % | 1 % | RankMe |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        for number, name in enumerate(("pretrained", "random")):
            found = [one["subjects"][number] for one in _evaluations(plan, row)]
            if found and (name != "random" or row == MAIN):
                measures = [subject["measures"] for subject in found]
                few = [{one["name"]: one["mean"] for one in of["few_labels"]} for of in found]
                cells = [
                    mean_and_sd([one[key] for one in measures if key in one])
                    for key in ("knn20", "probe")
                ]
                cells += [
                    mean_and_sd([one[key] for one in few if key in one]) for key in ("10 %", "1 %")
                ]
                ranks = mean_and_sd([one["rankme"] for one in measures if "rankme" in one])
                yield f"| {row} | {name} | {' | '.join(cells)} | {ranks} |"


def _evaluations(plan: Plan, row: str) -> list[dict[str, Any]]:
    places = (plan.folder(row) / f"frozen-seed{seed}" for seed in range(plan.num_seeds))
    return [found for place in places if (found := read(place / "summary.json"))]


def ablations(plan: Plan) -> Iterator[str]:
    """Say what each change of the pretraining does to frozen features and to fine-tuning.

    Seed 0 and its first draw of labels, in each row.
    """
    yield "| pretraining | 20 neighbours | probe, all labels | fine-tuned with 10 % of the labels |"
    yield "|---|---|---|---|"
    for row in [MAIN, *plan.task.ablations]:
        first = next((one["subjects"][0] for one in _evaluations(plan, row)), None)
        summary = read(plan.tuned(row, "pretrained", Drawn(10, 0, 0)) / "summary.json")
        if first or summary:
            measures = first["measures"] if first else {}
            values = measures.get("knn20"), measures.get("probe"), (summary or {}).get("top1")
            cells = [MISSING if value is None else f"{value:.1f}" for value in values]
            name = f"**{row}**" if row == plan.task.reference else row
            yield f"| {name} | {' | '.join(cells)} |"


def plot(plan: Plan) -> str | None:
    """Draw top-1 over the number of labels; None before there are two points."""
    series = {}
    for arm, name in zip(ARMS, ("from scratch", "pretrained"), strict=True):
        found = {share: over_draws(top1(plan, arm, share)) for share in SHARES}
        series[name] = [
            (float(plan.task.labels_of(share)), statistics.mean(values) / 100)
            for share, values in found.items()
            if values
        ]
    if min(map(len, series.values())) < 2:
        return None
    return curves(f"{plan.task.name}: top-1 on test images", "labels", series)


def _between(interval: tuple[float, float] | None) -> str:
    return MISSING if interval is None else f"{interval[0]:+.1f} to {interval[1]:+.1f}"
