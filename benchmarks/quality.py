"""Is pretraining worth it? Pretrained beside from-scratch, at 1, 10 and 100 % of the labels.

    python benchmarks/quality.py DATA --task clothing --out runs/quality-clothing --minutes 50

DATA holds `train` and `test`, folders of shards. For `fashion-mnist`, which Debian's package
dataset-fashion-mnist has: `python data/fashion_mnist.py --source FOLDER --whole --out DATA`. For
`clothing`, 5,640 photographs (github.com/alexeygrigorev/clothing-dataset, CC0): see README.md here.

All are ordinary runs in folders of their own: the same command goes on where it was stopped, and
after `--minutes` it stops by itself, with status 75. What is there so far is printed, and with
`--save` written to results/. A GPU is taken if there is one.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from figures import save
from jobs import Stop, finish
from machine import commit, num_cores, processor
from quality_figures import ablations, finetuned, frozen, plot
from quality_plan import MAIN, TASKS, Plan

RESULTS = Path(__file__).parent / "results"
PARTS = ("pretrain", "finetune", "frozen", "ablations")
ABOUT = """\
Top-1 in per cent on the test images, mean ± standard deviation over seeds of pretraining (n - 1). A seed stands
for pretraining, order and head; with 1 and 10 % of the labels it is a mean over three draws of them. Both arms share it. "Over seeds" is the 95 % interval of the
paired difference by Student's t, "over test images" that of the bootstrap, of the mean over seeds. Labels are
drawn so that classes are as equal as their images allow. Both arms have the same images, epochs, crops and batch; each
has its own learning rate, chosen on training images, and the pretrained one a layer decay of 0.75. Test images are
read at the end of a run alone."""  # noqa: E501 (lines of a page)


def page(plan: Plan, words: Sequence[str]) -> list[str]:
    """Say what has been found so far."""
    jobs = list(plan.jobs())
    num_done = sum(job.done.is_file() for job in jobs)
    return [
        f"# Is pretraining worth it? {plan.task.name}",
        "",
        f"{processor()}, {num_cores()} cores, {date.today()}, commit {commit()}; {num_done} of "
        f"{len(jobs)} commands are done. Repeat with",
        "",
        f"    python benchmarks/quality.py {shlex.join(words)}",
        "",
        ABOUT,
        "",
        "## Fine-tuned",
        "",
        *finetuned(plan),
        "",
        "## Frozen features",
        "",
        *frozen(plan, [MAIN, *plan.task.ablations]),
        "",
        "## What the pretraining is changed by",
        "",
        f"Changes of mask, target and crop are trained as long as **{plan.task.reference}**, which "
        "is what they are to be held against; the recipe is longer. Seed 0 and one draw of labels "
        "each, so differences of two points or three say nothing.",
        "",
        *ablations(plan),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with train/ and test/")
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--only", choices=PARTS, help="one part of it")
    parser.add_argument("--seeds", type=int, default=3, help="of pretraining, 1 or more")
    parser.add_argument("--minutes", type=float, help="stop after so many, and go on later")
    parser.add_argument("--save", action="store_true", help="write a page into results/")
    parser.add_argument("words", nargs="*", help="more arguments of both trainings, after --")
    given = parser.parse_intermixed_args()
    missing = [name for name in ("train", "test") if not (given.data / name).is_dir()]
    if missing:
        parser.error(f"{given.data} has no folder {' and no '.join(missing)}; --help says how made")
    if given.seeds < 1:
        parser.error(f"--seeds {given.seeds} must be 1 or more")
    task, words = TASKS[given.task], tuple(given.words)
    plan = Plan(task, given.data, given.out, given.seeds, words)
    parts = [given.only] if given.only else PARTS
    jobs = [job for job in plan.jobs() if job.part in parts]
    status = finish(jobs, given.out / "log.txt", Stop(given.minutes))
    lines = page(plan, sys.argv[1:])
    print("\n".join(["", *lines]))
    if given.save:
        save(RESULTS / f"quality_{plan.task.name}.md", lines)
        if drawn := plot(plan):
            (RESULTS / f"quality_{plan.task.name}.svg").write_text(drawn, encoding="utf-8")
    sys.exit(status)


if __name__ == "__main__":
    main()
