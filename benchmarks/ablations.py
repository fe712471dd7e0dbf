"""Takes the parts of Swin away, one by one: pretrains and fine-tunes each on the shipped images.

    python benchmarks/ablations.py --out runs/ablations --save

All is the demo's, and the same for all rows, but for windows of 4 tokens: with the demo's 8 each
stage is one window, and nothing is shifted. The runs are ordinary ones, in folders of their own: so
the same command goes on where it was stopped. Seed by seed, all rows are run.
"""

import argparse
import multiprocessing
import shlex
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from datetime import date
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from figures import save
from machine import commit, num_cores, processor

from ssl_swin.__main__ import run
from ssl_swin.command_line import read_config
from ssl_swin.models.simmim import SimMIM
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import read_summary
from ssl_swin.runs.network import build_simmim

RESULTS = Path(__file__).parent / "results"
SAME = ("--model.window-size", "4", "--data.num-workers", "0", "--training.num-threads", "1")
ROWS: dict[str, tuple[str, ...]] = {
    "Swin": (),
    "not shifted": ("--model.shift", "none"),
    "absolute positions": ("--model.position", "absolute"),
    "relative and absolute": ("--model.position", "both"),
    "no positions": ("--model.position", "none"),
    "MLP for attention": ("--model.mixer", "mlp"),
}
ABOUT = """\
Each row is pretrained on 10,000 images without labels, for {} epochs (the demo: 9), and fine-tuned
on 200 labelled ones, for {} epochs (the demo: 40). All else is the demo's (configs/pretrain/demo.yaml,
configs/finetune/demo.yaml), but windows have 4 x 4 tokens in all rows: so the 8 x 8 tokens of the
first stage are four windows, which its second block shifts; the second stage is one window, as the
last of a Swin is. The demo's learning rates were chosen for a Swin with windows of 8, and are tuned
for no row. A seed stands for both trainings: other weights, orders, masks and labels.

Top-1 is in per cent, on 2,000 test images; the loss on 1,000 held-out images with fixed masks; ± is
the standard deviation over seeds (n - 1). Images/s is forward and backward in pretraining, batch 32,
all rows in turns in one process with one thread, the median of rounds; "of Swin's" is the median of
ratios, round by round. Parameters are the encoder's."""  # noqa: E501 (lines of a page)
WARMUP_ROUNDS = 2  # timed and not counted


class Found(NamedTuple):
    """What one row's runs of one seed have found."""

    top1: float  # per cent
    heldout_loss: float  # of the pretraining


def pretrain_and_finetune(given: argparse.Namespace, job: tuple[str, int]) -> Found:
    """Run what is left of both."""
    row, seed = job
    place = given.out / f"{row.replace(' ', '-')}-seed{seed}"
    for kind, num_epochs, more in (
        ("pretrain", given.pretrain_epochs, []),
        ("finetune", given.finetune_epochs, ["--encoder", f"{place}/pretrain"]),
    ):
        words = [
            *(kind, f"configs/{kind}/demo.yaml", "--run-dir", f"{place}/{kind}", *more),
            *("--optim.epochs", str(num_epochs), "--optim.warmup-epochs", str(num_epochs / 10)),
            *("--training.validate-every-epochs", str(num_epochs)),
            *("--training.panel-every-epochs", "0", "--seed", str(seed)),
        ]
        _finish([*words, *ROWS[row], *SAME, *given.words], place)
    tuned = read_summary(RunFolder(place / "finetune"))
    pretrained = read_summary(RunFolder(place / "pretrain"))
    assert tuned is not None  # status 0 says it is there
    assert pretrained is not None
    assert tuned.top1 is not None  # both have held-out images
    assert pretrained.heldout_loss is not None
    return Found(tuned.top1, pretrained.heldout_loss)


def _finish(arguments: list[str], place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    path = place / "log.txt"
    with path.open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        status = run(arguments)
    if status:
        raise SystemExit(f"{shlex.join(arguments)} ended with {status}; see {path}")


def build(row: str) -> SimMIM:
    """Build what a row pretrains."""
    return build_simmim(
        read_config("pretrain", ["configs/pretrain/demo.yaml", *ROWS[row], *SAME])[0]
    )


def images_per_s(rounds: int) -> dict[str, list[float]]:
    """Time a training step of each row, forward and backward of 32 images, in turns."""
    torch.set_num_threads(1)
    models = {row: build(row) for row in ROWS}
    images, index = torch.rand(32, 1, 32, 32), torch.arange(32)
    found: dict[str, list[float]] = {row: [] for row in ROWS}
    for number in range(WARMUP_ROUNDS + rounds):
        for row, model in models.items():
            began = time.perf_counter()
            model(images, model.random_mask(index, number)).backward()
            if number >= WARMUP_ROUNDS:
                found[row].append(len(images) / (time.perf_counter() - began))
    return found


def table(found: dict[str, list[Found]], speeds: dict[str, list[float]]) -> list[str]:
    """Say of each row what its seeds found, and how fast it is beside a Swin."""
    names = "top-1 of each seed | mean ± sd | held-out loss | parameters | images/s | of Swin's"
    lines = [f"| | {names} |", "|" + "---|" * (names.count("|") + 2)]
    for row, results in found.items():
        top1, losses = zip(*results, strict=True)
        pairs = zip(speeds[row], speeds["Swin"], strict=True)
        ratio = statistics.median(own / swins for own, swins in pairs)
        each = " ".join(f"{one:.1f}" for one in top1)
        num = sum(one.numel() for one in build(row).encoder.parameters())
        lines.append(
            f"| {row} | {each} | {_mean(top1, 1)} | {_mean(losses, 4)} | {num:,d} "
            f"| {statistics.median(speeds[row]):,.0f} | {ratio:.2f} |"
        )
    return lines


def _mean(values: tuple[float, ...], digits: int) -> str:
    sd = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{sd}"


def head(given: argparse.Namespace) -> list[str]:
    """Say what the table is of."""
    return [
        "# What each part of Swin is worth, on the shipped images",
        "",
        f"{processor()}, {num_cores()} cores, one thread for each of {given.processes} runs, "
        f"{date.today()}, commit {commit()}. Repeat with",
        "",
        f"    python benchmarks/ablations.py {shlex.join(sys.argv[1:])}",
        "",
        ABOUT.format(given.pretrain_epochs, given.finetune_epochs),
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--seeds", type=int, default=3, help="of pretraining and fine-tuning")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=[*ROWS], metavar="ROW")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time")
    parser.add_argument("--rounds", type=int, default=20, help="of timing")
    parser.add_argument("--pretrain-epochs", type=int, default=9)
    parser.add_argument("--finetune-epochs", type=int, default=40)
    parser.add_argument("--save", action="store_true", help="write a page into results/")
    parser.add_argument("words", nargs="*", help="more arguments of both trainings, after --")
    given = parser.parse_args()
    counts = given.seeds, given.processes, given.rounds, given.pretrain_epochs
    if min(*counts, given.finetune_epochs) < 1:
        parser.error("--seeds, --processes, --rounds and epochs must be 1 or more")
    jobs = [(row, seed) for seed in range(given.seeds) for row in given.rows]
    found: dict[str, list[Found]] = {row: [] for row in given.rows}
    with ProcessPoolExecutor(given.processes, multiprocessing.get_context("spawn")) as pool:
        results = pool.map(partial(pretrain_and_finetune, given), jobs)
        for (row, seed), result in zip(jobs, results, strict=True):
            found[row].append(result)
            print(f"{row}, seed {seed}: {result.top1:.1f} %, {result.heldout_loss:.4f}", flush=True)
    lines = table(found, images_per_s(given.rounds))
    print("\n".join(lines))
    if given.save:
        name = f"ablations_{num_cores()}cpu_{date.today()}.md"
        save(RESULTS / name, [*head(given), *lines])


if __name__ == "__main__":
    main()
