"""Which method is worth it? All of `methods_table.py` beside SimMIM, at equal compute.

    python benchmarks/methods.py DATA --task fashion-mnist --out runs/methods-fashion --calibrate
    python benchmarks/methods.py DATA --task fashion-mnist --out runs/methods-fashion --choose-rates
    python benchmarks/methods.py DATA --task fashion-mnist --out runs/methods-fashion --minutes 50

DATA holds `train` and `test`, as for `quality.py`, which says how it is made. `--calibrate` times a
training step of every method, in turns, and counts its FLOPs: OUT/seconds.json. It wants a machine
that does nothing else. `--choose-rates` pretrains each method with a few learning rates, and takes
the one with the least training loss: OUT/rates.json, which `--rates` takes for another task.
Then each method is pretrained with as many images as fit into the seconds of SimMIM's pretraining
(`--equal flops`: into its FLOPs), and its features are held against SimMIM's of the same seed:
frozen, and fine-tuned with 10 and 100 % of the labels.

All are ordinary runs in folders of their own: the same command goes on where it was stopped, and
after `--minutes` it stops by itself, with status 75. Seed 0 of all methods comes first. What is
there so far is printed, and with `--save` written to results/.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import methods_cost
import methods_rates
from figures import save
from jobs import Stop, finish
from machine import commit, num_cores, processor
from methods_figures import all_gains, differences, plot, top1s, verdict
from methods_plan import ARMS, EPOCHS, Plan
from methods_rates import Rates
from methods_table import BASE, METHODS, NONE
from quality_plan import SHARES, TASKS

RESULTS = Path(__file__).parent / "results"
FILE, RATES = "seconds.json", "rates.json"
ABOUT = f"""\
A method is **{BASE}** with the settings that its line in `benchmarks/methods_table.py` names, and all else the same:
images, crops, batch, passes and warm-up (a tenth). Each pretraining has the learning rate of a few that had the least
training loss at its end, by the table below; the rate of fine-tuning was chosen for {BASE}, and another method may
want another. Each was given the images that its compute allows, in whole steps;
where it begins with a run of {BASE}, as its teacher or its weights, that run is paid for by half of the budget.
Seconds are those of a training step, timed in turns with {BASE}'s, times images: loading is not among them, nor is
the fine-tuning, which is the same for all but a ViT. Where the quartiles of its ratio have 1 between them a method is said to cost as
much as {BASE}. FLOPs are products and attention, forward and backward, a teacher's too. **{NONE}** is the same network from
scratch, or with drawn weights, and costs nothing.

Top-1 in per cent on the test images, mean ± standard deviation over seeds (n - 1); a seed stands for pretraining,
order and head; with 10 % of the labels it is a mean over draws of them. Differences are from {BASE} with the same
seeds, draws and test images: mean; 95 % interval over seeds by Student's t; 95 % interval over test images, by the
bootstrap (of frozen features the mean of the seeds' own intervals). Those where both leave 0 out are bold. Of many
rows a few would be by chance: one in forty to each side, if only one interval had to. Test images choose nothing."""  # noqa: E501 (lines of a page)


def page(
    plans: Sequence[Plan], about: Mapping[str, Any], rates: Rates, words: Sequence[str]
) -> list[str]:
    """Say what has been found so far, with equal seconds and with equal FLOPs."""
    jobs = list(plans[0].jobs())
    num_done = sum(job.done.is_file() for job in jobs)
    lines = [
        f"# Which method is worth it? {plans[0].task.name}",
        "",
        f"{processor()}, {num_cores()} cores, {date.today()}, commit {commit()}; {num_done} of "
        f"{len(jobs)} commands for equal {plans[0].equal} are done. Steps were timed on "
        f"{about['processor']}, {about['cores']} cores, {about['date']}, commit "
        f"{about['commit']}. Repeat with",
        "",
        f"    python benchmarks/methods.py {shlex.join(words)}",
        "",
        *(ABOUT, ""),
    ]
    for plan in plans:
        gains = all_gains(plan)
        lines += [f"## Equal {plan.equal}", "", *verdict(gains), "", *top1s(plan), ""]
        lines += ["Gained:", "", *differences(gains), ""]
    costs = ["## What a training step costs", "", *steps(about["methods"])]
    return [*lines, *costs, "", *methods_rates.page(*rates)]


def steps(measured: Mapping[str, methods_cost.Measured]) -> list[str]:
    """Say what was calibrated."""
    lines = ["| method | ms for 32 images | of simmim's | GFLOP an image |", "|---|---|---|---|"]
    for name, one in measured.items():
        ms, ratio = (
            f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
            for (low, middle, high), digits in ((one.ms, 0), (one.ratio, 2))
        )
        lines.append(f"| {name} | {ms} | {ratio} | {one.gflop:.3f} |")
    return lines


def calibrate(given: argparse.Namespace, names: Sequence[str], path: Path) -> list[str]:
    """Measure these methods, keep that beside what was measured before, and say all."""
    before = methods_cost.read_measured(path)
    found = methods_cost.calibrate(
        TASKS[given.task], given.data, names, given.rounds, tuple(given.words)
    )
    measured = before | found | ({BASE: before[BASE]} if BASE in before else {})
    about = {"processor": processor(), "cores": num_cores(), "commit": commit()}
    about |= {"date": str(date.today()), "rounds": given.rounds, "told": given.words}
    methods_cost.write(path, about, measured)
    return steps(measured)


def choose_rates(plan: Plan, given: argparse.Namespace) -> int:
    """Try all rates of the base, which others begin with, and then of these; keep what is known."""
    path, stop, status = given.out / RATES, Stop(given.minutes), 0
    before = methods_rates.read(path).losses
    for names in ([BASE], [name for name in plan.methods if name != BASE]):
        factors = methods_rates.chosen(before | methods_rates.losses(plan))
        plan = replace(plan, factors=factors)
        status = status or finish(
            list(plan.tries(names)), given.out / "log.txt", stop, given.at_once
        )
    found = before | methods_rates.losses(plan)
    about = {"task": given.task, "date": str(date.today()), "commit": commit()}
    methods_rates.write(path, about, found)
    print("\n".join(["", *methods_rates.table(found)]))
    return status


def parse() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with train/ and test/")
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--calibrate", action="store_true", help="time and count steps; no run")
    parser.add_argument("--rounds", type=int, default=30, help="of calibrating")
    rates = "pretrain with a few learning rates, and keep in OUT which is best"
    parser.add_argument("--choose-rates", action="store_true", help=rates)
    rates = f"FILE of --choose-rates, of this task or another; as OUT/{RATES}"
    parser.add_argument("--rates", type=Path, help=rates, metavar="FILE")
    parser.add_argument("--equal", choices=ARMS, default=ARMS[0], help="what all have as much of")
    only = f"this one, beside {BASE}; may be repeated"
    parser.add_argument("--only", choices=METHODS, action="append", metavar="METHOD", help=only)
    parser.add_argument("--epochs", type=int, help=f"of {BASE}: the budget; as {EPOCHS}")
    parser.add_argument("--seeds", type=int, default=3, help="of pretraining, 1 or more")
    parser.add_argument("--draws", type=int, default=SHARES[10], help="of 10 %% of the labels")
    parser.add_argument("--at-once", type=int, default=1, help="runs, each of which takes a core")
    parser.add_argument("--minutes", type=float, help="stop after so many, and go on later")
    parser.add_argument("--save", action="store_true", help="write a page into results/")
    parser.add_argument("words", nargs="*", help="more arguments of both trainings, after --")
    given = parser.parse_intermixed_args()
    missing = [name for name in ("train", "test") if not (given.data / name).is_dir()]
    if missing:
        parser.error(f"{given.data} has no folder {' and no '.join(missing)}; quality.py --help")
    given.epochs = EPOCHS[given.task] if given.epochs is None else given.epochs
    if min(given.rounds, given.epochs, given.seeds, given.draws, given.at_once) < 1:
        parser.error("--rounds, --epochs, --seeds, --draws and --at-once must be 1 or more")
    return parser, given


def main() -> None:
    parser, given = parse()
    names = [name for name in METHODS if not given.only or name in (BASE, *given.only)]
    path = given.out / FILE
    if given.calibrate:
        print("\n".join(calibrate(given, names, path)))
        return
    measured = methods_cost.read_measured(path)
    if lacking := methods_cost.outdated(measured, names, given.task):
        parser.error(
            f"{path} does not say what a step costs of {', '.join(lacking)}, as they are now; give "
            "the same command with --calibrate first, while the machine does nothing else"
        )
    about = json.loads(path.read_text(encoding="utf-8")) | {"methods": measured}
    plan = Plan(
        *(TASKS[given.task], given.data, given.out, given.seeds, given.equal),
        *(methods_cost.costs_of(measured), given.epochs, names, tuple(given.words), given.draws),
    )
    if given.choose_rates:
        sys.exit(choose_rates(plan, given))
    path = given.rates or given.out / RATES
    rates = methods_rates.read(path)
    if lacking := methods_rates.lacking(rates.losses, names):
        parser.error(
            f"{path} does not say which learning rate is for {', '.join(lacking)}; give the same "
            "command with --choose-rates first, or the file of another task with --rates"
        )
    compare(replace(plan, factors=methods_rates.chosen(rates.losses)), about, rates, given)


def compare(plan: Plan, about: Mapping[str, Any], rates: Rates, given: argparse.Namespace) -> None:
    """Run what is left, say what is there, and leave."""
    status = finish(list(plan.jobs()), given.out / "log.txt", Stop(given.minutes), given.at_once)
    plans = [plan, *(replace(plan, equal=arm) for arm in ARMS if arm != plan.equal)]
    lines = page(plans, about, rates, sys.argv[1:])
    print("\n".join(["", *lines]))
    if given.save:
        save(RESULTS / f"methods_{plan.task.name}.md", lines)
        if drawn := plot(plan, all_gains(plan)):
            (RESULTS / f"methods_{plan.task.name}.svg").write_text(drawn, encoding="utf-8")
    sys.exit(status)


if __name__ == "__main__":
    main()
