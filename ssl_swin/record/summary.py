"""The finished run in numbers: `summary.json`."""

import json
from dataclasses import asdict, dataclass

from ssl_swin.errors import UserError
from ssl_swin.files import named
from ssl_swin.record.lines import write_text
from ssl_swin.record.run_folder import RunFolder


@dataclass(frozen=True)
class Summary:
    """The fields of `summary.json`; one that a run does not have is None."""

    kind: str  # "pretrain" or "finetune"
    name: str  # the run folder's
    seed: int
    step: int  # optimiser steps done
    epochs: float
    samples_seen: int
    train_loss: float | None  # of the last step that was logged with a finite one
    heldout_loss: float | None = None  # validation shards; masked, with fixed masks, if pretrain
    best_heldout_loss: float | None = None  # the lowest that was measured
    knn: float | None = None  # of features, while pretraining: right by neighbours, per cent
    best_knn: float | None = None
    rankme: float | None = None  # signs of collapse, of the last features
    feature_std: float | None = None
    mean_cosine: float | None = None
    top1: float | None = None  # per cent, after the last epoch, as top5 and balanced_top1
    top5: float | None = None
    balanced_top1: float | None = None  # mean over the classes that have held-out images
    best_top1: float | None = None
    best_balanced_top1: float | None = None  # as the next two only if the best is chosen by it
    auroc: float | None = None  # each class against the rest, mean over classes, 0 to 1
    best_auroc: float | None = None
    ema_decay: float | None = None  # if what was measured is the moving average of the weights
    map: float | None = None  # of several classes, per cent, as the next two
    macro_f1: float | None = None
    best_map: float | None = None
    mae: float | None = None  # of numbers, in the units of the labels
    r2: float | None = None
    best_r2: float | None = None
    task: str | None = None  # fine-tuning's, as in its config
    best_metric: str | None = None  # the field above by which the best checkpoint is chosen
    num_classes: int | None = None
    num_labels: int | None = None  # labelled training images
    start: str | None = None  # where the encoder came from; "scratch" if nowhere
    bad_samples: int = 0  # images that could not be decoded, over all epochs; others replaced them
    bad_steps: int = 0  # steps whose loss or gradient was not finite; they changed nothing
    lives: int = 1  # how often the run was started
    seconds: float = 0.0  # spent training in the last life
    # Most that a process held in the last life: `allocated` and `reserved` on its GPU, or, on the
    # CPU, `resident` of the whole process.
    peak_memory_bytes: dict[str, int] | None = None


OF_OTHER_TASKS = ("map", "macro_f1", "auroc", "best_map", "mae", "r2", "best_r2")


class DamagedSummary(UserError):
    """A `summary.json` that is not whole."""


def write_summary(folder: RunFolder, summary: Summary) -> None:
    """Write `summary.json`."""
    write_text(folder.summary, json.dumps(asdict(summary), indent=2) + "\n")


def read_summary(folder: RunFolder) -> Summary | None:
    """Return the summary of a finished run; None while there is none.

    Raises:
        DamagedSummary: If the file is cut off or damaged.
        UserError: If it is not of this version.
    """
    if not folder.summary.is_file():
        return None
    try:
        with named(folder.summary):
            return Summary(**json.loads(folder.summary.read_text(encoding="utf-8")))
    except ValueError as error:
        raise DamagedSummary(
            f"{folder.summary} is cut off or damaged ({error}); the command that made the run "
            "writes it anew"
        ) from error
    except TypeError as error:
        raise UserError(
            f"{folder.summary} is not a summary of this version ({error}); use that which wrote it"
        ) from error


def is_finished(folder: RunFolder) -> bool:
    """Whether a run has its summary; one that is damaged the next life writes anew."""
    try:
        return read_summary(folder) is not None
    except DamagedSummary:
        return False
    except UserError:  # of another version
        return True
