"""Pictures of what a classifier takes held-out images for, at the best and the last measurement."""

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from pytorch_lightning import Trainer
from torch import Tensor

from ssl_swin import signals
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.pixels.decode import UnreadableImage
from ssl_swin.data.pixels.picture import picture
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.errors import ShardError
from ssl_swin.evaluation.bars import draw_accuracies
from ssl_swin.evaluation.confusion import draw_confusion
from ssl_swin.evaluation.heldout import NUM_OF, RIGHT_OF, HeldoutSums
from ssl_swin.evaluation.mistakes import NUM_SHOWN, Mistake, draw_mistakes
from ssl_swin.files import replacing
from ssl_swin.phases import Phase
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training.board import Board

MOST_CLASSES = 1000  # of a confusion matrix, whose counts all ranks add up
MOST_SHARE = 0.01  # of the time, for pictures of what may soon not be the best any more
_ABOUT = {
    "confusion": "Rows: what held-out images are. Columns: what they are said to be.",
    "accuracy_of_classes": "Held-out images of each class whose class came first, per cent.",
    "mistakes": "The most confident mistakes, with the probability of what is said.",
}
_INDEX, _LABEL, _SAID, _SURE = range(4)


@dataclass(frozen=True)
class _Seen:
    """What one measurement found."""

    step: int
    title: str
    right: np.ndarray  # int64 (classes,)
    num: np.ndarray  # int64 (classes,)
    confusion: np.ndarray | None  # int64 (classes, classes)
    worst: list[list[float]]  # place, label, what is said, its probability


class HeldoutPictures:
    """Draws the confusion matrix, the accuracy of each class and the most confident mistakes.

    They go to `panels/` of the run folder and to TensorBoard. While images are measured only four
    numbers of each are kept; rank 0 reads those that are shown again, and waits for none long.
    """

    def __init__(self, folder: RunFolder, stream: ImageStream, classes: Sequence[str]) -> None:
        self.folder, self.stream, self.classes = folder, stream, classes
        self._best: _Seen | None = None  # not drawn yet
        self._took_s, self._drew_at = 0.0, -float("inf")

    def take(
        self, trainer: Trainer, found: HeldoutSums, answers: Tensor | None, which: tuple[bool, bool]
    ) -> None:
        """Draw, or keep for later; all ranks call this with what all found, and their answers.

        `which` says whether this is the best measurement so far, and whether it is the last.
        """
        is_best, is_last = which
        if not (is_best or is_last) or not found.num_measured:
            return
        seen = self._gathered(trainer, found, answers)
        if not trainer.is_global_zero:
            return
        self._best = seen if is_best else self._best
        rests_s = time.monotonic() - self._drew_at
        if not is_last and (signals.received() or self._took_s > MOST_SHARE * rests_s):
            return
        began = time.monotonic()
        with Phase("making pictures"):
            if self._best is not None:
                self._draw(trainer, self._best, ("best", "last") if is_best else ("best",))
            if not is_best:
                self._draw(trainer, seen, ("last",))
        self._best = None
        self._drew_at = time.monotonic()
        self._took_s = self._drew_at - began

    def _gathered(self, trainer: Trainer, found: HeldoutSums, answers: Tensor | None) -> _Seen:
        """Return what all ranks found, on rank 0; each has as many of the worst, or of nothing."""
        module, num = trainer.lightning_module, len(self.classes)
        given = answers if answers is not None else torch.zeros(0, 4, dtype=torch.float64)
        given = given.to(module.device)
        # a rank's rows are in its own place, so the sum over ranks is those of all
        worst = given.new_zeros((trainer.world_size, NUM_SHOWN, 4))
        mine = worst[trainer.global_rank].fill_(-1)
        wrong = given[given[:, _LABEL] != given[:, _SAID]]
        wrong = wrong[wrong[:, _SURE].argsort(descending=True, stable=True)][:NUM_SHOWN]
        mine[: len(wrong)] = wrong
        rows = trainer.strategy.reduce(worst, reduce_op="sum").view(-1, 4).tolist()
        mistakes = sorted((row for row in rows if row[_INDEX] >= 0), key=_confidence)
        confusion = None
        if num <= MOST_CLASSES:
            pairs = (given[:, _LABEL] * num + given[:, _SAID]).long()
            counts = torch.bincount(pairs, minlength=num * num).double()
            total = trainer.strategy.reduce(counts, reduce_op="sum")
            confusion = total.view(num, num).long().cpu().numpy()
        right, of = (found.sums[name].long().cpu().numpy() for name in (RIGHT_OF, NUM_OF))
        step, share = module.step, 100 * right.sum() / of.sum()
        title = f"step {step:,}: {of.sum():,} held-out images, top-1 {share:.1f} %"
        return _Seen(step, title, right, of, confusion, mistakes[:NUM_SHOWN])

    def _draw(self, trainer: Trainer, seen: _Seen, names: tuple[str, ...]) -> None:
        for kind, drawn in self._pictures(seen):
            file = io.BytesIO()
            drawn.save(file, "PNG")
            for name in names:
                path = self.folder.heldout_picture(name, kind)
                path.parent.mkdir(exist_ok=True)  # in a run folder that is there
                with replacing(path) as out:
                    out.write(file.getvalue())
            for logger in trainer.loggers:
                if isinstance(logger, Board):
                    logger.show(kind, file.getvalue(), drawn.size, seen.step, _ABOUT[kind])

    def _pictures(self, seen: _Seen) -> Iterator[tuple[str, Image.Image]]:
        bars = draw_accuracies(seen.right, seen.num, self.classes, seen.title)
        yield "accuracy_of_classes", bars
        if seen.confusion is not None:
            yield "confusion", draw_confusion(seen.confusion, self.classes, seen.title)
        shown, num = list(self._read(seen)), int(seen.num.sum() - seen.right.sum())
        heading = f"{seen.title}: the {len(shown)} most confident of {num:,} mistakes"
        yield "mistakes", draw_mistakes(shown, heading)

    def _read(self, seen: _Seen) -> Iterator[Mistake]:
        """Read the images of mistakes; one that cannot be had now is left out."""
        shards, reading = self.stream.shards, self.stream.renderer.reading
        storage = shards.storage.impatient()
        reader = ShardReader(replace(shards, storage=storage), whole=False)
        try:
            for index, label, said, sure in seen.worst:
                shard, row = (int(place[0]) for place in shards.locate(np.array([int(index)])))
                try:
                    image = picture(reader.read(shard, row), self.stream.in_chans, reading)
                    key = reader.key(shard, row)
                except (UnreadableImage, ShardError, OSError):
                    continue
                is_class, said_class = self.classes[int(label)], self.classes[int(said)]
                yield Mistake(image, key, is_class, said_class, sure)
        finally:
            storage.close()


def _confidence(row: list[float]) -> tuple[float, float]:
    """The order of mistakes, the same however many ranks found them."""
    return -row[_SURE], row[_INDEX]
