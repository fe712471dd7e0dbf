"""Fine-tuning as Lightning sees it: erase, mix, classify, and the loss over the global batch."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ssl_swin.data.batches.batch import Batch
from ssl_swin.evaluation.heldout import NUM_OF, RIGHT_OF, SAID, SURE
from ssl_swin.models.classifier import Classifier
from ssl_swin.models.normalise import Normalisation
from ssl_swin.training.erasing import Erasing
from ssl_swin.training.learner import Learner, Schedule
from ssl_swin.training.optim import finetune_groups
from ssl_swin.training.regularise import Regularisation
from ssl_swin.training.tasks import Task


class FinetuneModule(Learner):
    """A classifier; `layer_decay` scales the learning rate from each layer to the one before."""

    network: Classifier

    def __init__(
        self,
        classifier: Classifier,
        normalise: Normalisation,
        regularise: Regularisation,
        schedule: Schedule,
        layer_decay: float,
        erasing: Erasing | None = None,
    ) -> None:
        super().__init__(classifier, normalise, schedule)
        self.best_metric = "best_top1"
        self.regularise, self.layer_decay, self.erasing = regularise, layer_decay, erasing
        self.task: Task | None = None

    def learn(self, task: Task | None) -> None:
        """Learn another task than one class of each image; it may be None, which is that one."""
        if task is not None:
            self.task, self.best_metric = task, f"best_{task.best_of}"

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the official groups of fine-tuning."""
        return finetune_groups(self.network, self.schedule.weight_decay, self.layer_decay)

    def micro_batch(self, share: Batch, start: int, stop: int) -> Batch:
        """Normalise, erase and mix images of a rank's share; those they are mixed with, likewise.

        The share stays uint8, so that floats take as much memory as one micro-batch or two.
        """

        def pixels(first: int, last: int) -> Tensor:
            part = {name: value[first:last] for name, value in share.items()}
            images = self.normalise(part["image"])
            return images if self.erasing is None else self.erasing(images, part)

        place = (start, stop), self.step, self.global_rank
        images, targets = self.regularise(pixels, share["label"], *place)
        return {"image": images, "target": targets}

    def loss(self, micro: Batch) -> Tensor:
        """Return the cross-entropy with soft targets; in float32, or float64 if all is."""
        logits = self.network(micro["image"])
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.task is not None:
            each = self.task.losses(logits, micro["target"])
            return each.sum() / self.schedule.global_batch_size
        losses = -(micro["target"] * functional.log_softmax(logits, dim=-1)).sum(dim=-1)
        return losses.sum() / self.schedule.global_batch_size

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Return top-1 and top-5 in per cent and the cross-entropy, summed over images.

        Beside them stand the images of each class, those of them whose first guess is right, and of
        each image that guess and its probability.
        """
        logits = self.network(self.normalise(batch["image"])).double()
        label = batch["label"]
        if self.task is not None:
            return self.task.measure(logits, label)
        ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices
        right = ranked == label[:, None]
        of_class = functional.one_hot(label, logits.shape[1]).double()  # (batch, classes)
        return {
            "top1": 100 * right[:, 0].double().sum(),
            "top5": 100 * right.any(dim=1).double().sum(),
            "heldout_loss": functional.cross_entropy(logits, label, reduction="sum"),
            NUM_OF: of_class.sum(dim=0),
            RIGHT_OF: (right[:, :1] * of_class).sum(dim=0),
            SAID: ranked[:, 0].double(),
            SURE: logits.softmax(dim=1).amax(dim=1),
        }
