"""Makes the run folders of a release, and what they must end with: `python -m tests.releases.make`.

Run it on the commit that is released, from the root of the repository. A folder that was made is
never made again: it shows what the code of its day left behind.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch

from ssl_swin import __version__
from ssl_swin.config.data import DataConfig, LabelledDataConfig
from ssl_swin.config.model import MaskConfig, ModelConfig
from ssl_swin.config.optim import FinetuneOptimConfig, OptimConfig
from ssl_swin.config.run import FinetuneConfig, PretrainConfig, RunConfig
from ssl_swin.config.training import TrainingConfig
from tests.releases.going_on import encode, here, remaining, weights
from tests.training import launch
from tests.training.stops import at_step, send

STOP_STEP = 5  # of 14: in the middle of the first of two epochs
SAMPLE = "data/fashion-mnist-sample"
GREY = {"mean": (0.286,), "std": (0.353,), "crop_pct": 1.0, "num_workers": 0}
MODEL = ModelConfig(
    "swin_tiny_patch4_window7_224",
    img_size=32,
    patch_size=4,
    window_size=4,
    embed_dim=8,
    depths=(1, 2),
    num_heads=(1, 2),
    drop_path_rate=0.1,
)
TRAINING = TrainingConfig(
    global_batch_size=128,
    micro_batch_size=40,
    precision="fp64",
    accelerator="cpu",
    num_threads=1,
    log_every_steps=1,
    ledger=True,
)
KEPT = (
    *("config.yaml", "shards.json", "owner.json", "lives.jsonl", "ends.jsonl"),
    *("checkpoints.jsonl", "metrics.jsonl", "summary.json", "ledger"),
    *("encoder.safetensors", "encoder.json", "classes.json", "checkpoints/last.ckpt"),
)


def pretraining(place: Path, **training: object) -> PretrainConfig:
    """Seven steps an epoch, for two epochs."""
    return PretrainConfig(
        str(place),
        DataConfig(f"{SAMPLE}/train-{{000000..000001}}.tar", block_size=100, **GREY),
        seed=1,
        model=MODEL,
        mask=MaskConfig(mask_patch_size=8),
        optim=OptimConfig(epochs=2, warmup_epochs=1, base_lr=4e-3, warmup_lr=1e-4),
        training=replace(TRAINING, **training),
    )


def finetuning(place: Path, encoder: Path) -> FinetuneConfig:
    """The same images with labels; mixup, CutMix, erasing and layer decay as by default."""
    data = LabelledDataConfig(
        f"{SAMPLE}/train-{{000000..000001}}.tar",
        val_shards=f"{SAMPLE}/test-000001.tar",
        block_size=100,
        rand_augment="",
        **GREY,
    )
    return FinetuneConfig(
        str(place),
        data,
        num_classes=10,
        encoder=str(encoder),
        seed=1,
        model=MODEL,
        optim=FinetuneOptimConfig(epochs=2, warmup_epochs=1, base_lr=4e-3, warmup_lr=1e-4),
        training=TRAINING,
    )


def stop_in_the_first_epoch(_rank: int) -> None:
    """Send every rank the signal that SLURM sends."""
    at_step(STOP_STEP - 1, lambda: send(launch.signal.SIGUSR1))


def main() -> None:
    """Make what is not there."""
    out = Path(__file__).parent / __version__.removesuffix(".0")
    if out.exists():
        raise SystemExit(f"{out} is there already; it is what the code of its day left behind")
    work = Path("runs", f"release-{out.name}")
    shutil.rmtree(work, ignore_errors=True)
    finished = launch.train(pretraining(work / "finished"))
    keep(finished, out)
    stopped: dict[str, RunConfig] = {
        "pretrain": pretraining(work / "pretrain"),
        "pretrain-2-processes": pretraining(work / "pretrain-2-processes", devices=2),
        "finetune": finetuning(work / "finetune", finished / "encoder.safetensors"),
    }
    tensors = {}
    for name, config in stopped.items():
        assert launch.finish(launch.start(config, prepare=stop_in_the_first_epoch)) == {75}
        keep(Path(config.run_dir), out)
        for what, value in remaining(config).items():
            tensors[f"{name}/{what}"] = torch.from_numpy(value)
        state = weights(launch.train(config))
        tensors |= {f"{name}/weights/{key}": value for key, value in state.items()}
        straight = replace(config, run_dir=f"{config.run_dir}-straight")
        for key, value in weights(launch.train(straight)).items():
            assert torch.equal(value, state[key]), key
    tensors["finished/features"] = encode(out / "finished").contiguous()
    safetensors.torch.save_file(tensors, out / "expected.safetensors")
    (out / "expected.json").write_text(json.dumps({"made_on": here()}, indent=1) + "\n")
    shutil.rmtree(work)


def keep(run: Path, out: Path) -> None:
    """Copy what a later version needs."""
    for name in KEPT:
        if (run / name).is_dir():
            shutil.copytree(run / name, out / run.name / name)
        elif (run / name).is_file():
            (out / run.name / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(run / name, out / run.name / name)
    owner = json.loads((run / "owner.json").read_text())
    (out / run.name / "owner.json").write_text(json.dumps(owner | {"host": "node1"}) + "\n")


if __name__ == "__main__":
    main()
