"""Starts real training processes, with torch and Lightning loaded once, and can kill them."""

import multiprocessing
import os
import signal
import socket
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ssl_swin.config.data import DataConfig, LabelledDataConfig
from ssl_swin.config.model import MaskConfig, ModelConfig
from ssl_swin.config.optim import FinetuneOptimConfig, OptimConfig
from ssl_swin.config.run import FinetuneConfig, PretrainConfig, RunConfig
from ssl_swin.config.training import TrainingConfig
from ssl_swin.record.lines import read_lines

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["ssl_swin.runs.life", "ssl_swin.data.shards.indexing", "timm.data"]
)
PATIENCE_S = 240

GREY = {"mean": (0.286,), "std": (0.353,), "crop_pct": 1.0, "num_workers": 0}
RGB = {"mean": (0.286,) * 3, "std": (0.353,) * 3, "crop_pct": 1.0, "num_workers": 0}
MODEL = ModelConfig(
    "swin_tiny_patch4_window7_224", 32, 4, 4, embed_dim=16, depths=(1, 2), num_heads=(1, 2)
)
TRAINING = TrainingConfig(
    global_batch_size=24,
    micro_batch_size=24,
    accelerator="cpu",
    num_threads=1,
    checkpoint_every_steps=3,
    log_every_steps=1,
    ledger=True,
)


def pretrain_config(run_dir: Path, shards: Path, **training: object) -> PretrainConfig:
    """8 steps an epoch of the 203 images of `tiny_shards`, in 6 lanes."""
    return PretrainConfig(
        str(run_dir),
        DataConfig(str(shards), val_shards=str(shards), num_lanes=6, block_size=16, **GREY),
        model=MODEL,
        mask=MaskConfig(mask_patch_size=8),
        optim=OptimConfig(epochs=5, warmup_epochs=1, base_lr=2e-2, warmup_lr=1e-4),
        training=replace(TRAINING, **training),
    )


def finetune_config(run_dir: Path, shards: Path, **training: object) -> FinetuneConfig:
    """The same images with labels, RGB, with all that is drawn at random switched on."""
    return FinetuneConfig(
        str(run_dir),
        LabelledDataConfig(str(shards), val_shards=str(shards), num_lanes=6, block_size=16, **RGB),
        num_classes=10,
        model=replace(MODEL, drop_path_rate=0.1),
        optim=FinetuneOptimConfig(epochs=4, warmup_epochs=1, base_lr=2e-2, warmup_lr=1e-4),
        training=replace(TRAINING, **training),
    )


def start(
    config: RunConfig,
    resume_from: Path | None = None,
    prepare: Callable[[int], None] | None = None,
) -> list:
    """Start the run's processes; each calls `prepare`, a test module's function, with its rank."""
    world_size = config.training.devices
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [
        PROCESSES.Process(
            target=_train, args=(config, rank, world_size, port, resume_from, prepare)
        )
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    return processes


def finish(processes: list) -> set[int]:
    """Wait for the processes and return their exit statuses."""
    deadline = time.monotonic() + PATIENCE_S
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            for other in processes:
                other.kill()
            raise TimeoutError(f"a training process was still running after {PATIENCE_S} s")
    return {process.exitcode for process in processes}


def train(config: RunConfig, resume_from: Path | None = None) -> Path:
    """Train to the end and return the run folder."""
    assert finish(start(config, resume_from)) == {0}
    return Path(config.run_dir)


def interrupt(
    config: RunConfig,
    at_step: int,
    how: signal.Signals,
    prepare: Callable[[int], None] | None = None,
) -> set[int]:
    """Start, send a signal to rank 0 once `at_step` steps are in the ledger, and wait."""
    processes = start(config, prepare=prepare)
    path = Path(config.run_dir) / "ledger" / "rank-0000.jsonl"
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and processes[0].is_alive():
        lines = read_lines(path)
        if lines and lines[-1]["step"] + 1 >= at_step:
            break
        time.sleep(0.002)
    os.kill(processes[0].pid, how)
    return finish(processes)


def _train(
    config: RunConfig,
    rank: int,
    world_size: int,
    port: int,
    resume_from: Path | None,
    prepare: Callable[[int], None] | None,
) -> None:
    warnings.simplefilter("error")
    multiprocessing.set_start_method("fork", force=True)  # for loader workers, as by default
    if world_size > 1:
        os.environ |= {
            "LOCAL_RANK": str(rank),
            "NODE_RANK": "0",
            "WORLD_SIZE": str(world_size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    from ssl_swin import signals
    from ssl_swin.runs import life

    signals.watch()
    if prepare is not None:
        prepare(rank)
    raise SystemExit(life.run(config, resume_from))
