"""Chooses the demo's fine-tuning: learning rate and steps of both arms over one and the same grid.

    python benchmarks/demo_search.py --out runs/demo_search --save grid.md

The 1,000 labelled training images are split in two: 500 to draw the few labels from and 500 to
measure on. Seeds start at 100; the demo reports seeds 0 to 8. The test images are not read.
"""

import argparse
import itertools
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import webdataset

from ssl_swin.__main__ import run
from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import read_summary

LABELLED = "data/fashion-mnist-sample/train-{000000..000001}.tar"
BASE_LR = (0.0256, 0.0512, 0.1024, 0.2048)  # 1e-3, 2e-3, 4e-3, 8e-3 at 20 images a step
EPOCHS = (20, 40)  # 200 and 400 steps
Setting = tuple[str, float, int, int]  # encoder, base_lr, epochs, seed


def split(out: Path) -> None:
    """Write the two halves of the labelled images as shards, 50 of each class in each."""
    shards = open_shards(LABELLED)
    reader = ShardReader(shards)
    shard, row = shards.locate(np.arange(shards.num_samples))
    places = [(int(s), int(r)) for s, r in zip(shard, row, strict=True)]
    by_class = sorted(places, key=lambda place: reader.label(*place))  # stable
    for name, half in (("train", by_class[::2]), ("val", by_class[1::2])):
        with webdataset.TarWriter(str(out / f"{name}.tar")) as tar:
            for number, place in enumerate(half):
                label = reader.label(*place)
                key = f"{number:06d}"
                tar.write({"__key__": key, "png": reader.read(*place), "cls": label})


def finetune(out: Path, setting: Setting) -> float:
    """Return the top-1 on the validation half."""
    encoder, base_lr, epochs, seed = setting
    arm = "scratch" if encoder == "null" else "pretrained"
    folder = RunFolder(out / f"{arm}-lr{base_lr:g}-epochs{epochs}-seed{seed}")
    status = run(
        [
            *("finetune", "configs/finetune/demo.yaml", "--run-dir", str(folder.root)),
            *("--encoder", encoder, "--seed", str(seed)),
            *("--data.shards", str(out / "train.tar"), "--data.val-shards", str(out / "val.tar")),
            *("--optim.base-lr", str(base_lr), "--optim.epochs", str(epochs)),
            *("--optim.warmup-epochs", str(epochs // 10)),
            *("--training.validate-every-epochs", str(epochs), "--training.num-threads", "1"),
        ]
    )
    summary = read_summary(folder)
    if status or summary is None or summary.top1 is None:
        raise SystemExit(f"{folder.root} did not finish: status {status}")
    return summary.top1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/demo_search"))
    parser.add_argument("--seeds", type=int, default=2, help="fine-tunings per setting")
    parser.add_argument("--base-lr", type=float, nargs="+", default=BASE_LR, help="of the grid")
    parser.add_argument("--epochs", type=int, nargs="+", default=EPOCHS, help="of the grid")
    parser.add_argument("--save", type=Path, help="Markdown file of the grid")
    parser.add_argument("pretrain", nargs="*", help="more arguments of ssl-swin pretrain, after --")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    split(out)
    pretrained = ["pretrain", "configs/pretrain/demo.yaml", "--run-dir", str(out / "pretrain")]
    if run([*pretrained, "--seed", "100", *arguments.pretrain]):
        raise SystemExit("the pretraining did not finish")
    lines = ["| start | base_lr | epochs | top-1 of each seed | mean |", "|---|---|---|---|---|"]
    seeds = range(100, 100 + arguments.seeds)
    arms = (str(out / "pretrain"), "null")
    settings = list(itertools.product(arms, arguments.base_lr, arguments.epochs))
    runs = [(*setting, seed) for setting in settings for seed in seeds]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        results = pool.map(partial(finetune, out), runs)
        for encoder, base_lr, epochs in settings:
            top1 = [next(results) for _ in seeds]
            arm = "scratch" if encoder == "null" else "pretrained"
            each = " ".join(f"{value:.1f}" for value in top1)
            mean = statistics.mean(top1)
            lines.append(f"| {arm} | {base_lr:g} | {epochs} | {each} | {mean:.2f} |")
            print(lines[-1], flush=True)
    if arguments.save:
        arguments.save.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
