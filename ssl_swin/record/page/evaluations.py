"""What was measured of encoders and classifiers: folders of evaluations -> tables and pictures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssl_swin.record.lines import read_json
from ssl_swin.record.page.chart import number
from ssl_swin.record.page.pictures import Album, Picture
from ssl_swin.record.page.story import Story

_MEASURES = {  # name in summary.json -> heading, and whether more is better
    "top1": ("top-1", True),
    "balanced_accuracy": ("balanced", True),
    "top5": ("top-5", True),
    "macro_f1": ("macro F1", True),
    "map": ("mAP", True),
    "auroc": ("AUROC, 0 to 1", True),
    "exact": ("all classes right", True),
    "mae": ("MAE", False),
    "rmse": ("RMSE", False),
    "r2": ("R2", True),
    "loss": ("loss, nats", False),
    "knn1": ("kNN, k = 1", True),
    "knn5": ("k = 5", True),
    "knn10": ("k = 10", True),
    "knn20": ("k = 20", True),
    "knn20_balanced": ("k = 20, balanced", True),
    "probe": ("probe", True),
    "probe_balanced": ("probe, balanced", True),
    "probe_calibration_error": ("calibration error", False),
    "probe_loss": ("probe loss, nats", False),
    "rankme": ("RankMe", None),
    "feature_std": ("feature std", None),
    "mean_cosine": ("mean cosine", None),
}
_PICTURES = ("confusion*.png", "neighbours*.png", "mistakes*.png")


@dataclass(frozen=True)
class Row:
    """A row of a table: its name, the number of the run that gives it a colour, and its cells."""

    name: str
    run: int | None
    cells: list[str]
    state: str = ""  # of a run


@dataclass(frozen=True)
class Table:
    """A table with words above and beneath it."""

    title: str
    headings: list[str]
    rows: list[Row]
    note: str = ""
    best: frozenset[tuple[int, int]] = frozenset()  # row and column of the best of each column
    pictures: list[tuple[str, Picture]] = field(default_factory=list)  # whose, and what it shows


def evaluations(stories: Sequence[Story], album: Album) -> list[Table]:
    """Return a table for each set that classifiers were measured on, then those of features.

    An evaluation that goes on, or is half written, has no summary and is left out.
    """
    of_set: dict[tuple[str, str], list[tuple[Story, Path, dict[str, Any]]]] = {}
    tables: list[Table] = []
    for story in stories:
        for path in sorted(story.folder.evaluation("x").parent.glob("*/summary.json")):
            found = read_json(path)
            if found.get("kind") == "frozen":
                tables += _frozen(story, path.parent, found, album)
            elif found:
                key = str(found.get("fingerprint")), str(found.get("data"))
                of_set.setdefault(key, []).append((story, path.parent, found))
    return [_classifiers(data, known, album) for (_, data), known in of_set.items()] + tables


def _classifiers(data: str, known: list[tuple[Story, Path, dict[str, Any]]], album: Album) -> Table:
    rows = [(story.name, story.number, found) for story, _, found in known]
    images = {str(found.get("images")) for _, _, found in known}
    note = f"{', '.join(sorted(images))} images of {data}. Shares are in per cent."
    note += " MAE and RMSE are in the units of the labels." * any("mae" in one for *_, one in known)
    table = _measured(f"Classifiers on {Path(data).name}", rows, note)
    for story, folder, _ in known:
        table.pictures.extend(_pictures(story.name, folder, album))
    return table


def _frozen(story: Story, folder: Path, found: dict[str, Any], album: Album) -> Iterator[Table]:
    """Yield the tables of one evaluation: the measures, few labels, and differences."""
    subjects = [one for one in _list(found, "subjects") if isinstance(one, dict)]
    train, test = (_dict(found, name) for name in ("train", "test"))
    data = [Path(str(one.get("data", "?"))).name for one in (train, test)]
    title = f"Frozen features on {data[1]}"
    note = (
        f"Fitted to {_count(train)} images of {data[0]}, measured on {_count(test)} of {data[1]}; "
        f"layer {found.get('layer', 'last')}. Shares are in per cent. Of {story.name}."
    )
    rows = [(str(one.get("name")), None, _dict(one, "measures")) for one in subjects]
    table = _measured(title, rows, note)
    table.pictures.extend(_pictures("", folder, album))
    yield table
    yield from _few_labels(title, subjects)
    yield from _differences(title, [one for one in _list(found, "differences") if _is_told(one)])


def _few_labels(title: str, subjects: list[dict[str, Any]]) -> Iterator[Table]:
    few = [
        (
            str(one.get("name")),
            [draw for draw in _list(one, "few_labels") if isinstance(draw, dict)],
        )
        for one in subjects
    ]
    headings = list(dict.fromkeys(str(draw.get("name")) for _, draws in few for draw in draws))
    if not headings:
        return
    rows = []
    for name, draws in few:
        cells = {str(draw.get("name")): draw for draw in draws}
        rows.append(Row(name, None, [_spread(cells.get(heading, {})) for heading in headings]))
    note = "Top-1 in per cent, mean ± standard deviation over draws; all have the same draws."
    yield Table(f"{title}: few labels", headings, rows, note)


def _spread(draw: Mapping[str, Any]) -> str:
    mean, spread = draw.get("mean"), draw.get("sd")
    if not isinstance(mean, int | float):
        return ""
    return f"{mean:.1f} ± {spread:.1f}" if isinstance(spread, int | float) else f"{mean:.1f}"


def _differences(title: str, found: list[dict[str, Any]]) -> Iterator[Table]:
    if not found:
        return
    rows = []
    for one in found:
        heading = _MEASURES.get(one["measure"], (one["measure"],))[0]
        clear = "" if one["low"] <= 0 <= one["high"] else "yes"
        span = f"{one['low']:+.2f} to {one['high']:+.2f}"
        cells = [str(one.get("from")), heading, f"{one['difference']:+.2f}", span, clear]
        rows.append(Row(str(one.get("of")), None, cells))
    headings = ["minus", "measure", "difference", "95 % interval", "clear of 0"]
    note = "Paired over the same images; intervals by bootstrap."
    yield Table(f"{title}: differences", headings, rows, note)


def _is_told(one: Any) -> bool:
    names = ("difference", "low", "high")
    return (
        isinstance(one, dict)
        and "measure" in one
        and all(isinstance(one.get(name), int | float) for name in names)
    )


def _measured(
    title: str, rows: Sequence[tuple[str, int | None, Mapping[str, Any]]], note: str
) -> Table:
    """Return a table of the measures that any row has; of two or more the best is marked."""
    told = [name for name in _MEASURES if any(_is_number(of, name) for _, _, of in rows)]
    best = set()
    for column, name in enumerate(told):
        more = _MEASURES[name][1]
        values = [(of[name], row) for row, (_, _, of) in enumerate(rows) if _is_number(of, name)]
        if more is not None and len(values) > 1:
            top = (max if more else min)(values)[0]
            best |= {(row, column) for value, row in values if value == top}
    cells = [
        Row(name, run, [_cell(of[one]) if _is_number(of, one) else "" for one in told])
        for name, run, of in rows
    ]
    return Table(title, [_MEASURES[name][0] for name in told], cells, note, frozenset(best))


def _cell(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 1 else number(value)


def _pictures(owner: str, folder: Path, album: Album) -> Iterator[tuple[str, Picture]]:
    for pattern in _PICTURES:
        for path in sorted(folder.glob(pattern)):
            if (picture := album.add(path)) is not None:
                yield owner, picture


def _count(data: Mapping[str, Any]) -> str:
    images = data.get("images")
    return f"{images:,}" if isinstance(images, int) else "?"


def _is_number(of: Mapping[str, Any], name: str) -> bool:
    value = of.get(name)
    return isinstance(value, int | float) and value == value


def _dict(of: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = of.get(name)
    return found if isinstance(found, dict) else {}


def _list(of: Mapping[str, Any], name: str) -> list[Any]:
    found = of.get(name)
    return found if isinstance(found, list) else []
