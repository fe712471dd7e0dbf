"""Runs side by side: how far and how good, what they cost, and in which settings they differ."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ssl_swin.phases import duration
from ssl_swin.record.measures import MEASURES
from ssl_swin.record.page.chart import number
from ssl_swin.record.page.evaluations import Row, Table
from ssl_swin.record.page.story import Story

NOT_TOLD = "–"
MOST_ABREAST = 4  # runs that are columns of a table
_PLACES = ("run_dir",)  # settings that differ in any two runs and say nothing


def results_of(story: Story) -> dict[str, str]:
    """Return how far a run is, how good, and what it took: heading -> words; empty if not known."""
    run, last = story.summary, story.last
    epochs, planned = last("train/epoch"), story.config.get("optim.epochs")
    of = _of(planned if run is None and isinstance(planned, int | float) else None, "g")
    epochs = run.epochs if run else epochs
    speeds = [value for _, value in story.curve("speed/images_per_s")]
    memory = [
        value
        for name in ("memory/peak_reserved_gb", "memory/peak_resident_gb")
        for _, value in story.curve(name)
    ]
    loss = run.train_loss if run else last("train/loss")
    untold = any(life.seconds is None for life in story.lives)
    at_least = "≥ " if untold and story.seconds else ""
    return {
        "step": f"{story.step:,}{_of(story.num_steps if run is None else None, ',d')}",
        "epochs": "" if epochs is None else f"{epochs:{'.4g' if run else '.1f'}}{of}",
        "loss": _number(loss, ".4f"),
        **_measured(story),
        "kNN, %": _number(last("quality/knn"), ".2f"),
        "RankMe": _number(last("quality/rankme"), ".1f"),
        "images/s": number(round(median(speeds))) if speeds else "",
        "memory, GB": f"{max(memory):.1f}" if memory else "",
        "training time": at_least + duration(story.seconds) if story.seconds else "",
        f"{story.device}-hours": f"{at_least}{story.device_hours:.2f}" if story.seconds else "",
        "lives": str(len(story.lives) or ""),
        "done again": _again(story),
    }


def _measured(story: Story) -> dict[str, str]:
    """Return what was last measured of held-out images, and the best of what chose the best."""
    run, found = story.summary, {"held-out loss": ""}  # which comes first
    chosen = (run.best_metric if run else None) or ""
    for name, measure in MEASURES.items():
        word = "held-out loss" if name == "heldout_loss" else measure.word
        heading = word + measure.unit.replace(" ", ", ")
        value = getattr(run, name) if run else story.last(f"heldout/{name}")
        found[heading] = _number(value, measure.form)
        if chosen == f"best_{name}":
            found[f"{measure.best} {heading}"] = _number(getattr(run, chosen), measure.form)
    return found


def _again(story: Story) -> str:
    """Return the share of all steps that were done again after a life was lost."""
    done = sum(max(0, life.end - life.begin) for life in story.lives)
    if len(story.lives) < 2 or not done:
        return ""
    untold = any(life.seconds is None for life in story.lives)  # nor what it did since its save
    return f"{'≥ ' if untold else ''}{100 * max(0, done - story.step) / done:.1f} %"


def _of(whole: float | None, form: str) -> str:
    return "" if whole is None else f" of {whole:{form}}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def results(stories: Sequence[Story]) -> Table:
    """Return a row for each run; a column that none fills is left out."""
    told = [results_of(story) for story in stories]
    headings = dict.fromkeys(name for cells in told for name, cell in cells.items() if cell)
    rows = [
        Row(story.name, story.number, [cells.get(name, "") for name in headings], story.state.word)
        for story, cells in zip(stories, told, strict=True)
    ]
    return Table("", list(headings), rows)


def settings(stories: Sequence[Story]) -> Table | None:
    """Return the settings in which runs differ; None if there are none."""
    known = [story for story in stories if story.config]
    found = _by_name([{n: _plain(v) for n, v in one.config.items()} for one in known])
    differing = {
        name: cells for name, cells in found.items() if name not in _PLACES and len(set(cells)) > 1
    }
    note = f"{NOT_TOLD}: the release that began this run did not have the setting."
    note *= any(NOT_TOLD in cells for cells in differing.values())
    return _side_by_side(known, differing, note) if differing else None


def environments(stories: Sequence[Story]) -> Table | None:
    """Return where runs were: versions, nodes, devices; None if nothing is told.

    What is the same in all of several runs is said beneath.
    """
    known = [story for story in stories if story.environment]
    found = _by_name([story.environment for story in known])
    same = {
        name: cells[0] for name, cells in found.items() if len(cells) > 1 and len(set(cells)) == 1
    }
    told = ", ".join(f"{name} {value}" for name, value in same.items())
    differing = {name: cells for name, cells in found.items() if name not in same}
    note = f"The same in all: {told}." if same else ""
    return _side_by_side(known, differing, note) if found else None


def _by_name(of_runs: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Return of each name what each run has there."""
    names = dict.fromkeys(name for one in of_runs for name in one)
    return {name: [one.get(name, NOT_TOLD) for one in of_runs] for name in names}


def _side_by_side(stories: Sequence[Story], found: Mapping[str, list[str]], note: str) -> Table:
    """Return a row for each name, or for each run where there are many."""
    if len(stories) <= MOST_ABREAST:
        rows = [Row(name, None, cells) for name, cells in found.items()]
        return Table("", [story.name for story in stories], rows, note)
    of_runs = [
        Row(story.name, story.number, [cells[place] for cells in found.values()])
        for place, story in enumerate(stories)
    ]
    return Table("", list(found), of_runs, note)


def _plain(value: Any) -> str:
    """Write a setting as a config does."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"[{', '.join(map(_plain, value))}]" if isinstance(value, list) else str(value)
