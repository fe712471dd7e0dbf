"""What a run leaves for others: encoder and classifier with their cards, and its numbers."""

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from ssl_swin import __version__
from ssl_swin.config.run import FinetuneConfig, PretrainConfig
from ssl_swin.data.shards.given import SINGLE
from ssl_swin.pretrained.card import READING, EncoderCard, write_encoder
from ssl_swin.pretrained.classifier import TASK_VERSION, ClassifierCard, write_classifier
from ssl_swin.pretrained.tensors import is_whole
from ssl_swin.record.summary import OF_OTHER_TASKS, Summary
from ssl_swin.runs.build import Run
from ssl_swin.runs.channels import channels_of
from ssl_swin.runs.resume import write_classes


def export_all(
    run: Run, epoch: int | Literal["best"] | None, weights: Mapping[str, Tensor]
) -> None:
    """Write what others take of a run: its encoder and, of a fine-tuning, its classifier.

    They are as the module's `weights`, which are whole, and are kept apart after an `epoch`; of
    None they are those that the run ends with. Of the best only a pretraining's encoder is kept.
    """
    folder = run.start.folder
    if epoch == "best":
        if isinstance(run.config, PretrainConfig):
            export_encoder(run, folder.best_encoder, weights)
        return
    export_encoder(run, folder.encoder if epoch is None else folder.kept_encoder(epoch), weights)
    if isinstance(run.config, FinetuneConfig):
        kept = folder.classifier if epoch is None else folder.kept_classifier(epoch)
        export_classifier(run, kept, weights)


def export_encoder(run: Run, path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write the encoder as it is now, and its card beside it; `weights` are the module's, whole."""
    config, encoder = run.config, run.encoder
    masks: dict[str, Any] = {}
    if isinstance(config, PretrainConfig) and config.mask.kind != "none":
        mask = config.mask
        masks = {"mask_patch_size": mask.mask_patch_size, "mask_ratio": mask.mask_ratio}
    told = _reading(run) | _training(run) | masks
    card = EncoderCard.of(encoder, config.data.mean, config.data.std, **told)
    write_encoder(path, _inside("network.encoder.", weights), card)


def export_classifier(run: Run, path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write a fine-tuning's classifier as `export_encoder` does its encoder."""
    data = run.config.data
    card = ClassifierCard(
        run.encoder.architecture(),
        run.start.classes,
        tuple(map(float, data.mean)),
        tuple(map(float, data.std)),
        run.config.model.img_size,
        **_reading(run),
        **_task(run),
        **_training(run),
    )
    write_classifier(path, _inside("network.", weights), card)


def _reading(run: Run) -> dict[str, Any]:
    """Return what cards say of how images are read."""
    data, bands = run.config.data, run.stream.renderer.reading.bands
    told = {name: getattr(data, name) for name in READING if hasattr(data, name)}
    return told | channels_of(bands, data)


def _task(run: Run) -> dict[str, Any]:
    """Return what a classifier's card says of a task that is not one class of each image."""
    config, given = run.config, run.stream.shards.given
    if not isinstance(config, FinetuneConfig) or config.task == SINGLE:
        return {}
    mean, std = ((), ()) if given is None or given.scale is None else given.scale
    told = {"task": config.task, "target_mean": mean, "target_std": std}
    return told | {"format_version": TASK_VERSION}


def complete(run: Run) -> list[str]:
    """Write what a finished run has lost, or never had; return what is to be said of it.

    Earlier releases left no classifier.
    """
    folder, weights = run.start.folder, run.module.weights_before_training()
    exports = {folder.encoder: export_encoder}
    if isinstance(run.config, FinetuneConfig):
        exports[folder.classifier] = export_classifier
    told = []
    for path, export in exports.items():
        if is_whole(path):
            continue
        try:
            if path == folder.classifier:
                write_classes(run.start)
            export(run, path, weights)
            told.append(f"{path} was missing or cut off, and is written anew")
        except OSError as error:  # as of a run that was put away; it is finished all the same
            what = f"{path}, which is missing or cut off, cannot be written"
            told.append(f"warning: {what}: {error}")
    return told


def _training(run: Run) -> dict[str, Any]:
    """Return what cards say of a training."""
    module = run.module
    return {
        "samples_seen": module.step * run.config.training.global_batch_size,
        "epoch": module.step // run.order.steps_per_epoch,
        "commit": _commit(),
        "ema_decay": run.config.training.ema_decay,
    }


def _inside(place: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a part of the module, under its own names."""
    named = ((name.partition(place), value) for name, value in weights.items())
    return {rest: value for (before, found, rest), value in named if found and not before}


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
        best_heldout_loss=metrics.get("best_heldout_loss"),
        knn=metrics.get("knn"),
        best_knn=metrics.get("best_knn"),
        rankme=metrics.get("rankme"),
        feature_std=metrics.get("feature_std"),
        mean_cosine=metrics.get("mean_cosine"),
        best_metric=run.module.best_metric,
        bad_samples=int(metrics.get("bad_samples", 0)),
        bad_steps=int(metrics.get("bad_steps", 0)),
        lives=lives,
        seconds=seconds,
        peak_memory_bytes=peak_memory,
    )
    if not isinstance(config, FinetuneConfig):
        return replace(summary, start=config.init)
    return replace(
        summary,
        top1=metrics.get("top1"),
        top5=metrics.get("top5"),
        balanced_top1=metrics.get("balanced_top1"),
        best_top1=metrics.get("best_top1"),
        best_balanced_top1=metrics.get("best_balanced_top1"),
        best_auroc=metrics.get("best_auroc"),
        task=config.task,
        ema_decay=config.training.ema_decay,
        **_of_other_tasks(metrics),
        num_classes=config.num_classes,
        num_labels=run.order.num_samples,
        start=config.encoder or "scratch",
    )


def _of_other_tasks(metrics: Mapping[str, float]) -> dict[str, Any]:
    return {name: metrics.get(name) for name in OF_OTHER_TASKS}


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
