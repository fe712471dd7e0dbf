"""How far the figures of the demo move: five pretrainings, each with one thread and with two.

    python benchmarks/demo_spread.py --out runs/demo_spread --save

Each is the demo itself, in a folder of its own, told only how many threads its pretraining has; its
fine-tunings have one, as the demo's config says. No two share labels: the seeds lie as far apart as
a demo has fine-tunings. The same command goes on where it was stopped, by Ctrl-C, SIGTERM or
`--minutes`, and then ends with status 75. The page says what is there so far.
"""

import argparse
import json
import os
import shlex
import signal
import statistics
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from datetime import date
from functools import partial
from pathlib import Path
from typing import NamedTuple

from figures import mean_and_sd, save
from machine import commit, num_cores, processor

from ssl_swin import signals
from ssl_swin.__main__ import run
from ssl_swin.demo import demo
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import read_summary

RESULTS = Path(__file__).parent / "results"
STOPPED = 75
STARTS = ("scratch", "pretrained")
ABOUT = """\
Top-1 in per cent on the demo's 2,000 test images. A row is one demo: one pretraining, and then
fine-tunings, each with other labels, another order and another head; ± is the standard deviation
over these (n - 1). Frozen columns are of the encoder as pretraining left it, told by 1,000 labelled
images, beside the same network untrained."""


class Demo(NamedTuple):
    """What one demo found, as far as it came."""

    threads: int
    seed: int
    top1: dict[str, dict[int, float]]
    """Start -> seed of a fine-tuning -> per cent."""
    frozen: dict[str, dict[str, float]]
    """Name of a network -> measure -> per cent; empty if it was not measured."""


def folder(out: Path, threads: int, seed: int) -> Path:
    """Return where the runs of one demo are."""
    return out / f"threads{threads}-seed{seed}"


def run_demo(given: argparse.Namespace, threads: int, seed: int, asked: threading.Event) -> int:
    """Run what is left of one demo; return its status."""
    place = folder(given.out, threads, seed)
    place.mkdir(parents=True, exist_ok=True)

    def told(arguments: list[str]) -> int:
        if asked.is_set() or signals.received():  # a training takes over the handlers
            return STOPPED
        of_threads = ["--training.num-threads", str(threads)]
        more = {"pretrain": [*of_threads, *given.words], "finetune": given.words}
        return run([*arguments, *more.get(arguments[0], [])])

    path = place / "log.txt"
    with path.open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        return demo(told, str(place), seed, given.finetunings)


def read_demo(out: Path, threads: int, seed: int, num_finetunings: int) -> Demo:
    """Read what the runs of one demo found."""
    place = folder(out, threads, seed)
    top1: dict[str, dict[int, float]] = {start: {} for start in STARTS}
    for start, found in top1.items():
        for number in range(seed, seed + num_finetunings):
            summary = read_summary(RunFolder(place / f"finetune-{start}-seed{number}"))
            if summary is not None and summary.top1 is not None:
                found[number] = summary.top1
    path = place / "frozen" / "summary.json"
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"subjects": []}
    names = ["random" if one["name"] == "random" else "pretrain" for one in record["subjects"]]
    measures = [one["measures"] for one in record["subjects"]]
    return Demo(threads, seed, top1, dict(zip(names, measures, strict=True)))


def table(demos: Sequence[Demo]) -> Iterator[str]:
    """Say what each demo found."""
    yield (
        "| threads | seed | from scratch | pretrained | gained "
        "| kNN, pretrained | kNN, random | probe, pretrained | probe, random |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for one in demos:
        cells = [mean_and_sd(list(one.top1[start].values())) for start in STARTS]
        cells.append(mean_and_sd(gains(one)))
        for measure in ("knn20", "probe"):
            for network in ("pretrain", "random"):
                value = one.frozen.get(network, {}).get(measure)
                cells.append("-" if value is None else f"{value:.1f}")
        yield f"| {one.threads} | {one.seed} | {' | '.join(cells)} |"


def gains(one: Demo) -> list[float]:
    """Return what pretraining brings each fine-tuning, in points; both starts have its seed."""
    scratch, pretrained = (one.top1[start] for start in STARTS)
    return [pretrained[number] - scratch[number] for number in pretrained if number in scratch]


def spread(demos: Sequence[Demo]) -> Iterator[str]:
    """Say how far the means of whole demos lie apart, and what a second thread does to them.

    Demos of one seed share their labels, whatever their threads, so they are not counted as two.
    """
    yield "| | sd within a demo | means of demos ± sd | least to most | two threads less one |"
    yield "|---|---|---|---|---|"
    for name, of in MEASURED.items():
        found = {(one.threads, one.seed): values for one in demos if (values := of(one))}
        means = {place: statistics.mean(values) for place, values in found.items()}
        if not means:
            continue
        inner = [statistics.variance(values) for values in found.values() if len(values) > 1]
        within = f"{statistics.mean(inner) ** 0.5:.1f}" if inner else "-"
        first = [value for (threads, _), value in means.items() if threads == min(means)[0]]
        sd = f" ± {statistics.stdev(first):.1f}" if len(first) > 1 else ""
        seeds = [seed for threads, seed in means if threads == 1 and (2, seed) in means]
        moved = [means[2, seed] - means[1, seed] for seed in seeds]
        yield (
            f"| {name} | {within} | {statistics.mean(means.values()):.1f}{sd} "
            f"| {min(means.values()):.1f} to {max(means.values()):.1f} | {mean_and_sd(moved)} |"
        )


def frozen(network: str, measure: str, one: Demo) -> list[float]:
    """Return a measure of frozen features, as a list of one number or of none."""
    return [one.frozen[network][measure]] if network in one.frozen else []


MEASURED: dict[str, Callable[[Demo], list[float]]] = {
    "from scratch": lambda one: list(one.top1["scratch"].values()),
    "pretrained": lambda one: list(one.top1["pretrained"].values()),
    "gained": gains,
    "kNN, pretrained": partial(frozen, "pretrain", "knn20"),
    "kNN, random": partial(frozen, "random", "knn20"),
    "probe, pretrained": partial(frozen, "pretrain", "probe"),
    "probe, random": partial(frozen, "random", "probe"),
}


def page(demos: Sequence[Demo], words: Sequence[str]) -> list[str]:
    """Say what has been found so far."""
    return [
        "# How far the demo's figures move",
        "",
        f"{processor()}, {num_cores()} cores, {date.today()}, commit {commit()}. Repeat with",
        "",
        f"    python benchmarks/demo_spread.py {shlex.join(words)}",
        "",
        ABOUT,
        "",
        *table(demos),
        "",
        "Within a demo the pretraining is the same; between demos it is another one, too. The ± of "
        "means is over demos with the fewest threads, mean and range are of all.",
        "",
        *spread(demos),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/demo_spread"))
    parser.add_argument("--pretrainings", type=int, default=5, help="other seeds, 1 or more")
    parser.add_argument("--finetunings", type=int, default=3, help="of each kind, in each demo")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of pretraining")
    parser.add_argument("--minutes", type=float, help="stop after so many, and go on later")
    parser.add_argument("--save", action="store_true", help="write results/demo_spread.md")
    parser.add_argument("words", nargs="*", help="more arguments of all trainings, after --")
    given = parser.parse_args()
    if min(given.pretrainings, given.finetunings, *given.threads) < 1:
        parser.error("--pretrainings, --finetunings and --threads must be 1 or more")
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    if given.minutes is not None:  # as if somebody had asked; a training saves, and leaves
        timer = threading.Timer(60 * given.minutes, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()
    seeds = [number * given.finetunings for number in range(given.pretrainings)]
    places = [(threads, seed) for seed in seeds for threads in given.threads]
    status = 0
    for number, (threads, seed) in enumerate(places):
        status = STOPPED if asked.is_set() else run_demo(given, threads, seed, asked)
        if status == STOPPED:
            print(f"stopped: {len(places) - number} demos are left; the same command goes on")
        elif status:
            log = folder(given.out, threads, seed) / "log.txt"
            print(f"error: a demo ended with {status}; its words are in {log}", file=sys.stderr)
        if status:
            break
        print(f"{number + 1} of {len(places)}: threads {threads}, seed {seed}", flush=True)
    demos = [read_demo(given.out, *place, given.finetunings) for place in places]
    lines = page([one for one in demos if any(one.top1.values())], sys.argv[1:])
    print("\n".join(["", *lines]))
    if given.save:
        save(RESULTS / "demo_spread.md", lines)
    sys.exit(status)


if __name__ == "__main__":
    main()
