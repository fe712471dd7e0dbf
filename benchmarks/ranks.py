"""Models a run on 64, 256 and 1,024 GPUs: how fast it is, and what failures leave of it.

python benchmarks/ranks.py --plot docs/scaling.svg
python benchmarks/ranks.py --measure --out FOLDER --save
"""

import argparse
import math
import os
import platform
import shlex
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from types import SimpleNamespace

from figures import save
from line_plot import curves
from machine import commit, num_cores, processor
from ranks_model import (
    ASSUMPTIONS,
    MAY_BE_0,
    checkpoint_bytes,
    efficiency,
    exchange_s,
    life,
    restart_s,
    save_s,
    step,
)

from ssl_swin.cluster.save_interval import interval_s
from ssl_swin.config.training import TrainingConfig

RESULTS = Path(__file__).parent / "results"
WHAT_IFS: tuple[tuple[str, dict[str, float]], ...] = (
    ("as assumed", {}),
    ("ranks agree with 39 us a hop, the least seen", {"hop_us": 39}),
    ("ranks agree along a tree", {"tree": 1}),
    ("the same, gradients in bf16", {"tree": 1, "gradient_bytes": 2}),
    ("the same, nothing hides the exchange", {"tree": 1, "overlap": 0}),
    ("the same, network of 12.5 GB/s a node", {"tree": 1, "network_gb_s": 12.5}),
    ("the same, network of 3 GB/s a node", {"tree": 1, "network_gb_s": 3}),
    ("the same, no GPU is later than others", {"tree": 1, "straggle": 0}),
    ("the same, 16 images a GPU", {"tree": 1, "images_per_gpu": 16}),
    ("the same, 4,000 images/s a GPU", {"tree": 1, "gpu_images_per_s": 4000}),
)


def changed(a: SimpleNamespace, changes: dict[str, float]) -> SimpleNamespace:
    return SimpleNamespace(**(vars(a) | changes))


def table(names: str, rows: list[str]) -> list[str]:
    return [f"| {names} |", "|" + "---|" * (names.count("|") + 1), *rows, ""]


def assumptions(a: SimpleNamespace, known: set[str]) -> list[str]:
    """List every assumption, where it is from, and which ones are other than written here."""
    rows = []
    for name, value, what, source in ASSUMPTIONS:
        given = vars(a)[name.replace("-", "_")]
        whence = "measured now" if name in known else source if given == value else "given"
        rows.append(f"| `--{name}` | {number(given)} | {what} | {whence} |")
    return table("flag | value | what | source", rows)


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def throughput(a: SimpleNamespace) -> list[str]:
    rows = []
    for n in a.gpus:
        one = step(a, n)
        times = (one.length, one.compute, one.exchange, one.waited, one.agreement, one.loader)
        rate = a.images_per_gpu * n / one.length
        rows.append(
            f"| {n:,d} | {' | '.join(f'{1000 * s:.1f}' for s in times)} | {one.pace} | {rate:,.0f} "
            f"| {efficiency(a, n):.1%} |"
        )
    names = "a step, ms | slowest GPU | exchange | of it waited for | agreement | loader"
    return table(f"GPUs | {names} | pace set by | images/s | efficiency", rows)


def goodput(a: SimpleNamespace) -> list[str]:
    """Say what is left of a run, saved as Young's rule says."""
    rows = []
    for n in a.gpus:
        every_s, left = life(a, n)
        parts = [*left, left.goodput, left.goodput * efficiency(a, n)]
        times = f"{save_s(a):.1f} | {every_s / 60:.1f} | {sum(restart_s(a, n).values()):.0f}"
        rows.append(f"| {n:,d} | {times} | {' | '.join(f'{part:.1%}' for part in parts)} |")
    names = "a save, s | between saves, min | restart, s | left by saves | by steps done again"
    return table(f"GPUs | {names} | by restarts | goodput | times efficiency", rows)


def intervals(a: SimpleNamespace) -> list[str]:
    """Compare Young's interval with others, with and without saves in the background."""
    n, rows = a.gpus[-1], []
    for background in (0, 1):
        b = changed(a, {"background": background})
        best = life(b, n)[0]
        default = interval_s(TrainingConfig(), step(b, n).length)
        choices = {"Young's": best, "the settings' default": default, "a quarter": best / 4}
        choices |= {"four times": 4 * best, "an hour": 3600.0}
        for name, every_s in choices.items():
            kind = "background" if background else "plain"
            left = life(b, n, every_s)[1].goodput
            rows.append(f"| {kind} | {name} | {every_s / 60:.1f} | {left:.1%} |")
    return table(f"save | interval | min | goodput on {n:,d} GPUs", rows)


def what_ifs(a: SimpleNamespace) -> list[str]:
    rows = []
    for name, changes in WHAT_IFS:
        found = [f"{efficiency(changed(a, changes), n):.1%}" for n in a.gpus]
        rows.append(f"| {name} | {' | '.join(found)} |")
    return table(f"efficiency on GPUs | {' | '.join(f'{n:,d}' for n in a.gpus)}", rows)


def restarts(a: SimpleNamespace) -> list[str]:
    parts = {n: restart_s(a, n) for n in a.gpus}
    rows = [
        f"| {name} | {' | '.join(f'{parts[n][name]:.1f}' for n in a.gpus)} |"
        for name in parts[a.gpus[0]]
    ]
    return table(f"restart, s, on GPUs | {' | '.join(f'{n:,d}' for n in a.gpus)}", rows)


def plot(a: SimpleNamespace) -> str:
    """Draw throughput efficiency and goodput over the number of GPUs."""
    tree, most = changed(a, {"tree": 1}), max(a.gpus)
    sizes = [2**power for power in range(int(math.log2(most)) + 1)]
    default = {n: interval_s(TrainingConfig(), step(a, n).length) for n in sizes}

    def goodput(n: int, every_s: float | None = None) -> float:
        return life(a, n, every_s)[1].goodput

    lines: dict[str, Callable[[int], float]] = {
        "throughput efficiency": lambda n: efficiency(a, n),
        "the same, if ranks agreed along a tree": lambda n: efficiency(tree, n),
        f"goodput with a failure every {a.mtbf_h:g} h, saved by Young's rule": goodput,
        "goodput, saved by the settings' defaults": lambda n: goodput(n, default[n]),
        "throughput efficiency times goodput by Young's rule": lambda n: (
            efficiency(a, n) * goodput(n)
        ),
    }
    series = {name: [(n, share(n)) for n in sizes] for name, share in lines.items()}
    return curves("Modelled, not measured: Swin-B, weak scaling", "GPUs", series)


def measured(options: argparse.Namespace) -> tuple[dict[str, float], list[str]]:
    """Time the pieces here; return what the model takes of them, and what was found."""
    import pieces  # late, for speed: it imports torch

    options.out.mkdir(parents=True, exist_ok=True)
    least, rows = {}, []
    for n in options.processes:
        found = [1e6 * s for s in pieces.agreement_s(n, options.exchanges)]
        least[n] = min(found)
        rows.append(f"| {n} | {2 * (n - 1)} | {least[n]:.0f} | {median(found):.0f} |")
    few, many = min(least), max(least)
    hop = (least[many] - least[few]) / (2 * (many - few)) if many > few else least[few] / 2
    num_bytes = round(1e6 * options.measure_mb)
    file = pieces.checkpoint_s(options.out, num_bytes, options.rounds)
    speed = {name: num_bytes / 1e9 / s for name, s in file.items()}
    values = {
        "hop-us": max(hop, 1.0),
        "agree-us": max(least[few] - 2 * (few - 1) * hop, 0.0),
        "disk-gb-s": speed["write"],
        "copy-gb-s": speed["copy"],
        "read-gb-s": speed["read"],
        "imports-s": pieces.imports_s(),
        "order-s": pieces.order_s(options.rounds),
    }
    lines = table("ranks | hops | least, us | median, us", rows)
    said = ", ".join(f"{name} {s:.2f} s" for name, s in file.items())
    return values, [*lines, f"A checkpoint of {options.measure_mb:g} MB: {said}.", ""]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64, 256, 1024])
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw it, too")
    parser.add_argument("--measure", action="store_true", help="time on this machine what it can")
    parser.add_argument("--out", type=Path, help="where --measure writes its checkpoint")
    parser.add_argument("--measure-mb", type=float, default=340, help="of that checkpoint")
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--exchanges", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="write a file in benchmarks/results")
    for name, value, what, source in ASSUMPTIONS:
        text = f"{what} ({source}); default {value:g}".replace("%", "%%")
        parser.add_argument(f"--{name}", type=float, default=value, metavar="NUMBER", help=text)
    options = parser.parse_args()
    for name, *_ in ASSUMPTIONS:
        value = vars(options)[name.replace("-", "_")]
        least = "0 or more" if name in MAY_BE_0 else "greater than 0"
        if not 0 <= value < math.inf or (not value and name not in MAY_BE_0):
            parser.error(f"--{name} must be {least}")
    if min(*options.gpus, *options.processes) < 1 or min(options.exchanges, options.rounds) < 1:
        parser.error("--gpus, --processes, --exchanges and --rounds must be 1 or more")
    if options.measure and options.out is None:
        parser.error("--measure needs --out FOLDER, on the disk that checkpoints go to")
    return options


def main() -> None:
    options = parse()
    values, found = measured(options) if options.measure else ({}, [])
    a = changed(options, {name.replace("-", "_"): value for name, value in values.items()})
    size = checkpoint_bytes(a)
    parts = {
        "Throughput, as many images on each GPU": throughput(a),
        "What changes it": what_ifs(a),
        "Goodput": goodput(a),
        "A restart": restarts(a),
        "How often to save": intervals(a),
        "Assumptions": assumptions(a, set(values)),
    }
    lines = []
    for title, part in parts.items():
        lines += [f"## {title}", "", *part]
    lines.append(f"A checkpoint has {size / 1e9:.2f} GB; exchanged are {exchanged(a)}.")
    print("\n".join([*found, *lines]))
    if options.plot:
        options.plot.write_text(plot(a), encoding="utf-8")
    if options.save:
        save(RESULTS / f"ranks_{num_cores()}cpu_{date.today()}.md", [*head(), *found, *lines])


def exchanged(a: SimpleNamespace) -> str:
    n = a.gpus[-1]
    return (
        f"{a.parameters * a.gradient_bytes / 1e6:.0f} MB a step, {1e3 * exchange_s(a, n)[0]:.0f} ms"
    )


def head() -> list[str]:
    return [
        f"# Scaling, modelled on {processor()}, {num_cores()} cores",
        "",
        f"Commit {commit()}, Python {platform.python_version()}, load average "
        f"{os.getloadavg()[0]:.1f}. To repeat:",
        f"`python benchmarks/ranks.py {shlex.join(sys.argv[1:])}`",
        "",
        "No GPU was measured. On a machine with other work look at the least of the times.",
        "",
    ]


if __name__ == "__main__":
    main()
