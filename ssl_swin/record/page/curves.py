"""Which charts there are: points of several runs -> charts in groups, each run one colour."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from ssl_swin.record.measures import MEASURES
from ssl_swin.record.page.chart import Chart, Curve, Drawing, Point, draw
from ssl_swin.record.page.story import Story
from ssl_swin.record.tags import TAGS, shown

NUM_COLOURS = 7  # in style.css
TRAINING, HELDOUT = "train/loss", "heldout/heldout_loss"
_LOSS_AXES = {
    "pretrain": "error of a hidden pixel, standard deviations",
    "finetune": "cross-entropy, nats",
    "multi-label": "binary cross-entropy, mean of classes, nats",
    "regression": "error of a number, standard deviations",
}
_PASSED_OVER = (
    *("train/epoch", "train/samples_seen"),
    *(f"heldout/best_{name}" for name, measure in MEASURES.items() if measure.best),
)
_MEASURED = ("heldout/", "quality/")  # now and then, so each point is shown
_OF_PART = (r"(norm/[a-z]+)_(.+)", r"(.+)_(stage\d+)")  # measure, and which part of the network


class Kind(NamedTuple):
    """How points of one name, or one pattern of names, are drawn."""

    pattern: str
    title: str
    axis: str  # name and unit
    is_noisy: bool = False
    from_zero: bool = False
    may_be_log: bool = False
    only_if_any: bool = False  # left out while all are 0


KINDS = (
    Kind("heldout/top1", "Top-1, held-out", "right, per cent"),
    Kind("heldout/balanced_top1", "Balanced top-1, held-out", "mean of classes, per cent"),
    Kind("heldout/auroc", "AUROC, held-out", "mean of classes, 0 to 1"),
    Kind("heldout/map", "mAP, held-out", "mean of classes, per cent"),
    Kind("heldout/macro_f1", "Macro F1, held-out", "mean of classes, per cent"),
    Kind("heldout/mae", "Mean absolute error, held-out", "units of the labels", from_zero=True),
    Kind("heldout/r2", "R2, held-out", "share of the variance, 1 at best"),
    Kind("heldout/top5", "Top-5, held-out", "among five, per cent"),
    Kind("quality/knn", "kNN of frozen features", "right, per cent"),
    Kind("quality/rankme", "RankMe", "effective rank of features, dimensions"),
    Kind("quality/feature_std", "Spread of features", "standard deviation, no unit"),
    Kind("quality/mean_cosine", "Likeness of images", "mean cosine, −1 to 1"),
    Kind("lr", "Learning rate", "learning rate, no unit", from_zero=True),
    Kind("train/grad_norm", "Gradient", "length, no unit", True, may_be_log=True),
    Kind("train/loss_scale", "Loss scale of fp16", "factor, no unit", may_be_log=True),
    Kind("norm/gradient", "Gradient", "length, no unit", True, may_be_log=True),
    Kind("norm/parameter", "Weights", "length, no unit", may_be_log=True),
    Kind("norm/update", "Change in a step", "length, no unit", True, may_be_log=True),
    Kind("speed/images_per_s", "Speed", "images per second", True, True),
    Kind(
        *("speed/data_wait_share", "Waiting for images", "share of time, 0 to 1"),
        is_noisy=True,
        from_zero=True,
    ),
    Kind("speed/mfu", "Model FLOP/s utilisation", "of the data sheet, per cent", True, True),
    Kind("gpu/utilisation", "Busy GPU", "share of time, per cent", True, True),
    Kind(r"memory/.*_gb", "", "of one process, GB", from_zero=True),
    Kind("data/bad_samples", "Broken images", "images, all so far", only_if_any=True),
    Kind("heldout/bad_samples", "Broken held-out images", "images", only_if_any=True),
    Kind("train/bad_steps", "Bad steps", "steps, all so far", only_if_any=True),
    Kind("train/overflow_steps", "Overflows of fp16", "steps, all so far", only_if_any=True),
    Kind(".*", "", "value, no unit known"),
)
_TITLES = {
    "memory/peak_resident_gb": "Main memory at its peak",
    "memory/peak_allocated_gb": "GPU memory in tensors, at its peak",
    "memory/peak_reserved_gb": "GPU memory taken, at its peak",
}


def charts(stories: Sequence[Story]) -> list[Drawing]:
    """Return the charts of runs of one kind and task, in order; one without a point is left out.

    Runs whose batches differ in size are drawn over images, not over steps.
    """
    sizes = {one.config.get("training.global_batch_size") for one in stories if one.points}
    by_images = len(sizes) > 1
    drawings = (draw(chart) for chart in _all(stories, by_images))
    return [drawing for drawing in drawings if drawing is not None]


def _all(stories: Sequence[Story], by_images: bool) -> Iterator[Chart]:
    x_axis = "images trained on" if by_images else "step"
    found = {story: _curves(story, by_images) for story in stories}
    yield _loss(found, x_axis)
    names = dict.fromkeys(name for curves in found.values() for name in curves)
    measures: dict[str, dict[str, str]] = {}  # measure -> part -> name
    for name in names:
        if name not in (TRAINING, HELDOUT):
            measure, part = measure_and_part(name)
            measures.setdefault(measure, {})[part] = name
    for kind in KINDS:
        for measure in [one for one in measures if re.fullmatch(kind.pattern, one)]:
            named = kind._replace(title=kind.title or _TITLES.get(measure, measure))
            for chart in _of_measure(named, measures.pop(measure), found):
                yield replace(chart, x_axis=x_axis)


def measure_and_part(name: str) -> tuple[str, str]:
    """Take apart what is measured and of which part of the network, which may be empty."""
    found = (re.fullmatch(pattern, name) for pattern in _OF_PART)
    measure, part = next((one.groups() for one in found if one), (name, ""))
    return measure, re.sub(r"(\d+)$", r" \1", part)


def _of_measure(
    kind: Kind, names: dict[str, str], found: dict[Story, dict[str, list[Point]]]
) -> Iterator[Chart]:
    """Yield the chart of a measure, and those of its parts: of one run a single one."""
    whole, parts = names.get(""), {part: names[part] for part in sorted(names, key=_depth) if part}
    alone = next(iter(found)) if len(found) == 1 else None
    told = [(kind.title, _of_runs(whole, found), False)] if whole else []
    if alone:
        curves = [
            Curve(part, found[alone][name], colour, colour // NUM_COLOURS, _is_marked(name))
            for colour, (part, name) in enumerate(parts.items())
        ]
        told.append((f"{kind.title}, by part", curves, False))
    else:
        told += [(f"{kind.title}, {p}", _of_runs(name, found), True) for p, name in parts.items()]
    about = shown({next(iter(names.values())): 0.0})[0][0].description.replace("`", "")
    for title, curves, is_detail in told:
        values = [value for curve in curves for _, value in curve.points]
        if any(values) or (values and not kind.only_if_any):
            how = (kind.is_noisy, kind.from_zero, kind.may_be_log, is_detail)
            yield Chart(title, kind.axis, about, curves, "", *how)


def _depth(part: str) -> tuple[bool, int, str]:
    """Put parts in the order in which an image passes them: stem, stages, what comes after."""
    number = re.search(r"\d+$", part)
    return part != "stem" and number is None, int(number[0]) if number else 0, part


def _of_runs(name: str, found: dict[Story, dict[str, list[Point]]]) -> list[Curve]:
    return [
        Curve(story.name, points[name], story.number, _dash(story), _is_marked(name))
        for story, points in found.items()
        if name in points
    ]


def _is_marked(name: str) -> bool:
    return name.startswith(_MEASURED)


def _loss(found: dict[Story, dict[str, list[Point]]], x_axis: str) -> Chart:
    """Put the losses of training and of held-out images into one chart."""
    curves = []
    for story, points in found.items():
        both = HELDOUT in points
        for name, label in ((TRAINING, "training"), (HELDOUT, "held-out")):
            if name in points:
                words = f"{story.name}, {label}" if both else story.name
                colour, dash, marked = story.number, _dash(story), name == HELDOUT
                if len(found) == 1:
                    words, colour = label, colour + 3 * marked
                curves.append(Curve(words, points[name], colour, dash, marked))
    axis = _LOSS_AXES[next(iter(found)).task]
    about = TAGS[TRAINING].description.split(". ")[0] + "."
    if any(HELDOUT in points for points in found.values()):
        about += " With dots: held-out images."
    return Chart("Loss", axis, about, curves, x_axis, is_noisy=True)


def _dash(story: Story) -> int:
    """Runs of one colour differ by their dashes."""
    return story.number // NUM_COLOURS


def _curves(story: Story, by_images: bool) -> dict[str, list[Point]]:
    """Return the curves of a run; all its learning rates are one, the highest."""
    factor = story.config.get("training.global_batch_size") if by_images else 1
    factor = factor if isinstance(factor, int) else 1
    curves: dict[str, list[Point]] = {}
    for point in story.points:
        for name, value in _told(point):
            curves.setdefault(name, []).append((point["step"] * factor, value))
    return {name: _last_of_each(points) for name, points in curves.items()}


def _told(point: dict[str, float]) -> Iterator[tuple[str, float]]:
    rates = [value for name, value in point.items() if name.startswith("lr/")]
    if rates:
        yield "lr", max(rates)
    for name, value in point.items():
        if name != "step" and not name.startswith("lr/") and name not in _PASSED_OVER:
            yield name, value


def _last_of_each(points: Iterable[Point]) -> list[Point]:
    """Keep the last of the points at one place: a step that was done again counts once."""
    return list(dict(points).items())
