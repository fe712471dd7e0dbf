"""What a network says of images with several classes, or numbers, held against their labels."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ssl_swin.data.batches.targets import Targets
from ssl_swin.data.shards.classes import names_of, numbers_among
from ssl_swin.data.shards.given import MULTI
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.evaluation.classify import Answers
from ssl_swin.evaluation.other_tasks import THRESHOLD
from ssl_swin.evaluation.ranking import auroc, average_precision, counts_of, f1, mean_of
from ssl_swin.pretrained.classifier import ClassifierCard

Columns = dict[str, np.ndarray]


def targets_by_name(shards: ShardSet, where: str, card: ClassifierCard) -> np.ndarray:
    """Return what each sample is, float64 (num_samples, outputs), as the card numbers its classes.

    It is 1 for each class of a sample, or its numbers; NaN of a sample without a label.

    Raises:
        UserError: If there are no labels, or others than the network's.
    """
    renumber = None
    if card.task == MULTI and shards.given is not None:
        names = names_of(shards) or card.classes
        used = np.unique(shards.given.values).tolist()
        renumber = numbers_among(names, used, card.classes, where, "the classifier")
    targets = Targets(card.task, len(card.classes), renumber)
    targets.check(shards, where)
    return targets.all(shards)


@dataclass(frozen=True)
class TaskFindings:
    """What was said of the images that can be decoded and have labels, in their order."""

    task: str
    place: np.ndarray
    """int64 (images,): place in the set."""
    target: np.ndarray
    """float64 (images, outputs)."""
    said: np.ndarray
    """float64 (images, outputs): probabilities, or numbers."""
    broken: tuple[int, ...]
    """Places of the images that cannot be decoded."""

    @cached_property
    def per_output(self) -> Columns:
        """What each class or number comes to, float64 (outputs,).

        Of classes per cent, but AUROC from 0 to 1; of numbers units of labels, but R2.
        """
        if self.task != MULTI:
            error, spread = self.said - self.target, self.target - self.target.mean(axis=0)
            squares = (spread**2).sum(axis=0)
            share = np.divide(
                (error**2).sum(axis=0), squares, np.full(len(squares), np.nan), where=squares > 0
            )
            rmse = np.sqrt((error**2).mean(axis=0))
            return {"mae": np.abs(error).mean(axis=0), "rmse": rmse, "r2": 1 - share}
        there, said = self.target == 1, self.said >= THRESHOLD
        hits, num_said, num = (one.sum(axis=0) for one in (said & there, said, there))
        counts = [counts_of(*one) for one in zip(self.said.T, there.T, strict=True)]
        with np.errstate(invalid="ignore"):
            return {
                "count": num.astype(np.float64),
                "precision": 100 * np.where(num_said > 0, hits / np.maximum(num_said, 1), np.nan),
                "recall": 100 * np.where(num > 0, hits / np.maximum(num, 1), np.nan),
                "f1": 100 * f1(hits, num_said, num),
                "average_precision": 100 * np.array([average_precision(*one) for one in counts]),
                "auroc": np.array([auroc(*one) for one in counts]),
            }

    @property
    def measures(self) -> dict[str, float]:
        """The means over classes that occur, or over numbers; in the units of `per_output`."""
        found = self.per_output
        if self.task != MULTI:
            return {name: mean_of(values) for name, values in found.items()}
        exact = (self.target == (self.said >= THRESHOLD)).all(axis=1)
        return {
            "map": mean_of(found["average_precision"]),
            "macro_f1": mean_of(found["f1"]),
            "auroc": mean_of(found["auroc"]),
            "exact": 100 * float(exact.mean()),
        }


def find_for_task(answers: Iterable[Answers], target: np.ndarray, task: str) -> TaskFindings:
    """Hold what is said of all images against `target`, float64 (num_samples, outputs)."""
    places, said, broken = [np.empty(0, np.int64)], [np.empty((0, target.shape[1]))], list[int]()
    for answer in answers:
        good = ~answer.broken & ~np.isnan(target[answer.index]).any(axis=1)
        broken += answer.index[answer.broken].tolist()
        places.append(answer.index[good])
        said.append(answer.probability.numpy()[good])
    place = np.concatenate(places)
    return TaskFindings(task, place, target[place], np.concatenate(said), tuple(broken))
