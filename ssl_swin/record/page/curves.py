"""Which charts there are: points of several runs -> charts in groups, each run one colour."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ssl_swin.record.page.chart import Chart, Curve, Drawing, Point, draw
from ssl_swin.record.page.story import Story
from ssl_swin.record.tags import TAGS

TRAINING, HELDOUT = "train/loss", "heldout/heldout_loss"
_LOSS_AXES = {
    "pretrain": "error of a hidden pixel, standard deviations",
    "finetune": "cross-entropy, nats",
}
_PASSED_OVER = (
    "train/epoch",
    "train/samples_seen",
    "heldout/best_heldout_loss",
    "heldout/best_top1",
)
_MEASURED = ("heldout/", "quality/")  # now and then, so each point is shown
_STAGE = re.compile(r"[_/]stage_?(\d+)$")


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
    Kind("heldout/top5", "Top-5, held-out", "among five, per cent"),
    Kind("quality/knn", "kNN of frozen features", "right, per cent"),
    Kind("quality/rankme", "RankMe", "effective rank of features, dimensions"),
    Kind("quality/feature_std", "Spread of features", "standard deviation, no unit"),
    Kind("quality/mean_cosine", "Likeness of images", "mean cosine, −1 to 1"),
    Kind("lr", "Learning rate", "learning rate, no unit", from_zero=True),
    Kind("train/grad_norm", "Gradient", "length, no unit", True, may_be_log=True),
    Kind("train/loss_scale", "Loss scale of fp16", "factor, no unit", may_be_log=True),
    Kind(r"norms?/.*", "", "length, no unit", True, may_be_log=True),
    Kind("speed/images_per_s", "Speed", "images per second", True, True),
    Kind(
        *("speed/data_wait_share", "Waiting for images", "share of time, 0 to 1"),
        is_noisy=True,
        from_zero=True,
    ),
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
    """Return the charts of runs of one kind, in order; one without a point is left out.

    Runs whose batches differ in size are drawn over images, not over steps.
    """
    by_images = len({story.config.get("training.global_batch_size") for story in stories}) > 1
    drawings = (draw(chart) for chart in _all(stories, by_images))
    return [drawing for drawing in drawings if drawing is not None]


def _all(stories: Sequence[Story], by_images: bool) -> Iterator[Chart]:
    x_axis = "images trained on" if by_images else "step"
    found = {story: _curves(story, by_images) for story in stories}
    yield _loss(found, x_axis)
    names = dict.fromkeys(name for curves in found.values() for name in curves)
    names.pop(TRAINING, None)
    names.pop(HELDOUT, None)
    measures = dict.fromkeys(_STAGE.sub("", name) for name in names)
    for kind in KINDS:
        for measure in [one for one in measures if re.fullmatch(kind.pattern, one)]:
            del measures[measure]
            of_it = sorted(name for name in names if _STAGE.sub("", name) == measure)
            yield from _of_measure(kind, measure, of_it, found, x_axis)


def _of_measure(
    kind: Kind,
    measure: str,
    names: list[str],
    found: dict[Story, dict[str, list[Point]]],
    x_axis: str,
) -> Iterator[Chart]:
    """Yield the chart of a measure, and that of its stages: a line of other dashes for each."""
    title = kind.title or _TITLES.get(measure) or measure
    about = TAGS[measure].description.replace("`", "") if measure in TAGS else ""
    style = (x_axis, kind.is_noisy, kind.from_zero, kind.may_be_log)
    for by_stage in (False, True):
        curves = []
        for story, points in found.items():
            for name in (one for one in names if (one != measure) == by_stage and one in points):
                stage = _STAGE.search(name)
                label = f"{story.name}, stage {stage[1]}" if stage else story.name
                dash = int(stage[1]) - 1 if stage else _dash(story)
                few = name.startswith(_MEASURED)
                curves.append(Curve(label, points[name], story.number, dash, few))
        told = [value for curve in curves for _, value in curve.points]
        if any(told) or (told and not kind.only_if_any):
            yield Chart(f"{title}, by stage" * by_stage or title, kind.axis, about, curves, *style)


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
    axis = _LOSS_AXES[next(iter(found)).kind]
    dots = (
        " With dots: held-out images."
        if any(HELDOUT in points for points in found.values())
        else ""
    )
    about = TAGS[TRAINING].description.split(". ")[0] + "." + dots
    return Chart("Loss", axis, about, curves, x_axis, is_noisy=True)


def _dash(story: Story) -> int:
    """Runs of one colour differ by their dashes; see style.css for how many colours there are."""
    return story.number // NUM_COLOURS


NUM_COLOURS = 7


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
