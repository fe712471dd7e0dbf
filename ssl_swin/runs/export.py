"""What a run leaves for others: its encoder with a card, and its numbers."""

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ssl_swin import __version__
from ssl_swin.config.run import FinetuneConfig, PretrainConfig
from ssl_swin.pretrained.card import EncoderCard, write_encoder
from ssl_swin.record.summary import Summary
from ssl_swin.runs.build import Run


def export_encoder(run: Run, path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write the encoder as it is now, and its card beside it; `weights` are the module's, whole."""
    config, module = run.config, run.module
    encoder: Any = module.network.encoder  # SimMIM's or a classifier's
    masks: dict[str, Any] = {}
    if isinstance(config, PretrainConfig):
        mask = config.mask
        masks = {"mask_patch_size": mask.mask_patch_size, "mask_ratio": mask.mask_ratio}
    card = EncoderCard.of(
        encoder,
        config.data.mean,
        config.data.std,
        samples_seen=module.step * config.training.global_batch_size,
        epoch=module.step // run.order.steps_per_epoch,
        commit=_commit(),
        **masks,
    )
    inside = "network.encoder."
    named = ((name.partition(inside), value) for name, value in weights.items())
    write_encoder(path, {rest: value for (_, found, rest), value in named if found}, card)


def summarise(
    run: Run, lives: int, seconds: float, peak_memory: dict[str, int] | None = None
) -> Summary:
    """Return the run in numbers; of its last life how long it trained, and its peak of memory."""
    config, metrics = run.config, run.module.metrics
    summary = Summary(
        kind=run.kind,
        name=run.start.folder.root.name,
        seed=config.seed,
        step=run.module.step,
        epochs=run.module.step / run.order.steps_per_epoch,
        samples_seen=run.module.step * config.training.global_batch_size,
        train_loss=metrics.get("train_loss"),
        heldout_loss=metrics.get("heldout_loss"),
        bad_samples=int(metrics.get("bad_samples", 0)),
        bad_steps=int(metrics.get("bad_steps", 0)),
        lives=lives,
        seconds=seconds,
        peak_memory_bytes=peak_memory,
    )
    if not isinstance(config, FinetuneConfig):
        return summary
    return replace(
        summary,
        top1=metrics.get("top1"),
        top5=metrics.get("top5"),
        best_top1=metrics.get("best_top1"),
        num_labels=run.order.num_samples,
        start=config.encoder or "scratch",
    )


def _commit() -> str:
    """Return the commit of the code, or its version where it is no checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return __version__
    command = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return __version__
    return answer.stdout.strip() or __version__
