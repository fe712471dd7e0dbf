"""What an evaluation of frozen features found: its numbers, tables and sentences."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ssl_swin.features.intervals import Interval, paired_difference
from ssl_swin.features.labelled import LabelledSet
from ssl_swin.record.tables import Cells, table

# number -> head of its column, digits; others are shown under their own names
_COLUMNS = {
    "knn1": ("kNN 1", 1),
    "knn20": ("kNN 20", 1),
    "probe": ("probe", 1),
    "probe_balanced": ("balanced", 1),
    "probe_calibration_error": ("cal. error", 1),
    "rankme": ("RankMe", 1),
}
_ONLY_IN_FILES = {
    *("knn5", "knn10", "knn20_balanced", "probe_loss", "probe_penalty"),
    *("feature_std", "mean_cosine"),
}
TOP1 = {"knn20": "kNN 20", "probe": "probe"}


@dataclass(frozen=True, eq=False)
class Result:
    """What all measures found of one network."""

    name: str
    what: str
    fingerprint: str
    num_features: int
    num_train: int
    """Labelled images that could be decoded, of which all numbers are."""
    num_test: int
    numbers: dict[str, float]
    few_labels: list[dict[str, Any]]
    said: dict[str, np.ndarray]
    """By the name of a top-1: the class said of every image of the test set, int64 (num_samples,);
    -1 where nothing is, for the image has no label or cannot be decoded."""

    @property
    def best_said(self) -> str | None:
        """The name of what tables and pictures of classes are of."""
        return next((name for name in ("probe", "knn20", *self.said) if name in self.said), None)


@dataclass(frozen=True)
class Difference:
    """How much better one network is than another by one measure, over test images, in points."""

    measure: str
    of: str
    from_: str
    interval: Interval

    def as_record(self) -> dict[str, Any]:
        """Return it as it stands in `summary.json`."""
        return {"measure": self.measure, "of": self.of, "from": self.from_} | asdict(self.interval)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Networks, held against each other on one test set."""

    train: LabelledSet
    test: LabelledSet
    classes: tuple[str, ...]
    layer: str
    seed: int
    results: list[Result] = field(default_factory=list)
    measures: Sequence[str] = ()
    flip: bool = False
    label_field: str = "label"

    @cached_property
    def differences(self) -> list[Difference]:
        """The first network against each other one, by each top-1."""
        first, *others = self.results
        return [
            Difference(measure, first.name, other.name, self._compare(first, other, measure))
            for measure in first.said
            for other in others
            if measure in other.said
        ]

    @property
    def num_measured(self) -> tuple[set[int], set[int]]:
        """Training and test images that were measured; of several decoders several numbers."""
        return {one.num_train for one in self.results}, {one.num_test for one in self.results}

    def _compare(self, one: Result, other: Result, measure: str) -> Interval:
        both = (one.said[measure] >= 0) & (other.said[measure] >= 0)
        label = self.test.label[both]
        right, of_other = (100.0 * (each.said[measure][both] == label) for each in (one, other))
        return paired_difference(right, of_other, self.seed)

    def summary(self) -> dict[str, Any]:
        """Return what stands in `summary.json`."""
        train, test = (min(nums) for nums in self.num_measured)
        sets = {
            name: {
                "data": one.where.partition("=")[2],
                "fingerprint": one.shards.fingerprint(),
                "content": one.content,
                "images": num,
                "broken": one.num_labels - num,
            }
            for name, one, num in (("train", self.train, train), ("test", self.test, test))
        }
        subjects = [
            {
                "name": one.name,
                "what": one.what,
                "fingerprint": one.fingerprint,
                "num_features": one.num_features,
                "measures": one.numbers,
                "few_labels": one.few_labels,
            }
            for one in self.results
        ]
        about = {"classes": [*self.classes], "measures": [*self.measures]} | self.how()
        found = {"subjects": subjects, "differences": [d.as_record() for d in self.differences]}
        return {"kind": "frozen"} | sets | about | found

    def how(self) -> dict[str, Any]:
        """Return what was asked, but for sets, networks and measures."""
        names = ("layer", "seed", "flip", "label_field")
        return {name: getattr(self, name) for name in names}


def tables(found: Evaluation) -> list[Table]:
    """Return the tables of an evaluation: all networks, few labels, differences."""
    num = " to ".join(f"{one:,}" for one in sorted(found.num_measured[1])) + " test images"
    titles_and_rows = [
        (f"Frozen features, top-1 in % of {num}", [_measured(one) for one in found.results]),
        ("Few labels, probe: mean ± sd", _few(found.results, "")),
        ("Few labels, kNN 20: mean ± sd", _few(found.results, "knn_")),
        (
            "Differences in points, with 95 % intervals over test images",
            [_difference(one) for one in found.differences],
        ),
    ]
    return [table(title, rows) for title, rows in titles_and_rows if any(map(len, rows))]


def fitting(found: list[Table], width: int) -> Iterator[Table]:
    """Yield tables that fit so many columns: of one that does not, each row as a table."""
    for one in found:
        if Console(width=10**6).measure(one).maximum <= width:
            yield one
            continue
        heads = [str(column.header) for column in one.columns]
        for row in zip(*(map(str, column.cells) for column in one.columns), strict=True):
            cells = zip(heads[1:], row[1:], strict=True)
            lines: list[Cells] = [{"name": head, "value": cell} for head, cell in cells]
            yield table(f"{one.title}: {row[0]}", lines)


def _measured(one: Result) -> Cells:
    numbers, cells = one.numbers, {}
    for name, (head, digits) in _COLUMNS.items():
        if name in numbers:
            cells[head] = f"{numbers[name]:.{digits}f}"
    others = [name for name in numbers if name not in _COLUMNS and name not in _ONLY_IN_FILES]
    cells |= {name: f"{numbers[name]:.4g}" for name in others}
    return {"name": one.name, **cells} if cells else {}


def _few(results: list[Result], prefix: str) -> list[Cells]:
    """Return a row for each number of labels, with a column for each network."""
    rows: dict[str, Cells] = {}
    for one in results:
        for few in one.few_labels:
            mean, sd = few[f"{prefix}mean"], few[f"{prefix}sd"]
            row = rows.setdefault(few["name"], {"name": few["name"]})
            row["labels"] = f"{few['num_labels']:,}"
            row[one.name] = f"{mean:.1f}" + (f" ± {sd:.1f}" if sd is not None else "")
    return [*rows.values()]


def _difference(one: Difference) -> Cells:
    found = one.interval
    return {
        "name": f"{one.of} - {one.from_}",
        "measure": TOP1.get(one.measure, one.measure),
        "difference": f"{found.difference:+.1f}",
        "interval": f"{found.low:+.1f} to {found.high:+.1f}",
    }


def sentences(found: Evaluation) -> Iterator[str]:
    """Yield in plain words what was found."""
    for one in found.differences:
        by = TOP1.get(one.measure, one.measure)
        low, high = one.interval.low, one.interval.high
        if low > 0:
            yield f"{one.of} beats {one.from_} by {low:.1f} to {high:.1f} points ({by})"
        elif high < 0:
            yield f"{one.from_} is ahead of {one.of} by {-high:.1f} to {-low:.1f} points ({by})"
        else:
            yield (
                f"{one.of} and {one.from_} cannot be told apart by these test images: "
                f"{low:+.1f} to {high:+.1f} points ({by})"
            )
    if found.differences:
        yield (
            "intervals: 95 % over test images, of these very weights; another pretraining seed "
            "may differ by more"
        )
    if len(found.results) == 1 and (best := found.results[0].best_said):
        result = found.results[0]
        share = 100 * np.bincount(found.test.label[result.said[best] >= 0]).max() / result.num_test
        yield (
            f"{result.name}: {TOP1.get(best, best)} {result.numbers[best]:.1f} %; to say "
            f"the most frequent class always gives {share:.1f} %"
        )
