"""Of what a run keeps the best: a measure of some images, which may change from life to life."""

from ssl_swin.runs.resume import Start
from ssl_swin.training.datamodule import Heldout
from ssl_swin.training.learner import Learner
from ssl_swin.training.monitors import Monitored


def best_of(module: Learner, heldout: Heldout | None, monitored: Monitored | None) -> str | None:
    """Say of which measure and images the best is kept; None if none is."""
    metric = module.best_metric
    if metric == "best_knn":
        labelled = monitored.labelled if monitored is not None else None
        num, stream = (0, None) if labelled is None else (len(labelled), labelled.stream)
    else:
        num, stream = (0, None) if heldout is None else (len(heldout.stream), heldout.stream)
    if metric is None or stream is None:
        return None
    return f"{metric} of {num} images of {stream.shards.fingerprint()}"


def best_is_elsewhere(start: Start, kind: str, images: str | None) -> bool:
    """Whether a run that goes on has no best of today's measure and images in its folder.

    A checkpoint of an earlier release, which says nothing, knows the best of a fine-tuning alone.
    """
    folder, state = start.folder, start.state or {}
    is_new = not folder.last.is_file() and not folder.previous.is_file()  # with --resume-from
    return is_new or state.get("best_of", images if kind == "finetune" else None) != images
