"""The whole route on the shipped images, as the commands a user would type, one after the other."""

import shlex
import time
from collections.abc import Callable
from pathlib import Path

from ssl_swin.record.report import compare, show
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import Summary, read_summary
from ssl_swin.shipped import or_shipped

CONFIG = "demo"  # `ssl-swin configs` lists it
SCRATCH_LR = "0.0512"  # its best of the grid; the config has that of the pretrained encoder
LABELLED = "data/fashion-mnist-sample/train-{000000..000001}.tar"  # the configs name them, too
TEST = "data/fashion-mnist-sample/test-{000000..000001}.tar"
FIRST_LINES = """\
This demo pretrains a small Swin on 10,000 images without labels, then fine-tunes it on a few
labelled ones, beside the same network from scratch: same images, budget and recipe; learning rate
and steps of both were chosen over one grid (the repository's benchmarks/results/demo_search.md)."""


def demo(
    run: Callable[[list[str]], int], out: str = "runs/demo", seed: int = 0, num_seeds: int = 3
) -> int:
    """Pretrain, fine-tune with and without, and compare; the same command goes on where it stopped.

    Args:
        run: Runs one command line of this program and returns its exit status.
        out: Folder of the runs.
        seed: Seed of the pretraining and of the first fine-tuning.
        num_seeds: Fine-tunings of each kind, each with other labels, order and head.
    """
    began = time.monotonic()
    print(FIRST_LINES)
    folder = RunFolder(Path(out) / "pretrain")
    pretrain = ["pretrain", CONFIG, "--run-dir", str(folder.root), "--seed", str(seed)]
    if status := _run(run, pretrain):
        return status
    summaries: list[Summary] = []
    for number in range(seed, seed + num_seeds):
        arms = {
            "pretrained": ["--encoder", str(folder.root)],
            "scratch": ["--optim.base-lr", SCRATCH_LR],
        }
        for start, options in arms.items():
            place = RunFolder(Path(out) / f"finetune-{start}-seed{number}")
            command = ["finetune", CONFIG, "--run-dir", str(place.root)]
            if status := _run(run, [*command, *options, "--seed", str(number)]):
                return status
            summary = read_summary(place)
            assert summary is not None  # status 0 says it is there
            summaries.append(summary)
    print(
        "\nThe encoder frozen, told by 1,000 labelled images, beside the same with random weights:"
    )
    if status := _run(run, _evaluation(out)):
        return status
    minutes = (time.monotonic() - began) / 60
    print(f"\nTop-1 on test images that were read once, after {minutes:.1f} minutes:")
    show(compare(summaries))
    print(f"pictures:    {max(folder.root.glob('panels/*.png'))}")
    print(f"TensorBoard: tensorboard --logdir {shlex.quote(out)}")
    return 0


def _evaluation(out: str) -> list[str]:
    """Return the command that measures the frozen encoder beside the same network untrained."""
    words = ["evaluate", str(RunFolder(Path(out) / "pretrain").root), "random"]
    for option, pattern in (("--data", LABELLED), ("--test", TEST)):
        words += [option, or_shipped(pattern)]
    return [*words, "--measures", "knn,probe", "-o", str(Path(out) / "frozen")]


def _run(run: Callable[[list[str]], int], arguments: list[str]) -> int:
    print(f"\n$ ssl-swin {shlex.join(arguments)}", flush=True)
    return run(arguments)
