"""Fine-tuning as Lightning sees it: erase, mix, classify, and the loss over the global batch."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssl_swin.data.batches.batch import Batch
from ssl_swin.evaluation.heldout import NUM_OF, RIGHT_OF, SAID, SCORES, SURE
from ssl_swin.models.class_loss import ClassLoss
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
        self.class_loss = ClassLoss()
        self.head_steps = 0  # of the run that train the head alone
        self.task: Task | None = None

    def learn(self, task: Task | None) -> None:
        """Learn another task than one class of each image; it may be None, which is that one."""
        if task is not None:
            self.task, self.best_metric = task, f"best_{task.best_of}"

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the groups of fine-tuning."""
        how = self.schedule.weight_decay, self.layer_decay, self.schedule.quirks.decays_places
        return finetune_groups(self.network, *how)

    def before_step(self, share: Batch) -> None:
        """Have the encoder rest while the head learns alone."""
        self.network.train_head_alone(self.step < self.head_steps)

    def train_all(self) -> None:
        """Take no step of the head alone any more."""
        self.head_steps = 0

    def trained_alone(self) -> list[nn.Parameter]:
        """Return the head's parameters while it learns alone."""
        return [*self.network.head.parameters()] if self.network.head_alone else []

    def after_backward(self) -> None:
        """Leave the encoder without gradient then, so it has no moments and does not decay."""
        if self.network.head_alone:
            for _, parameter in self.network.encoder.named_parameters():
                parameter.grad = None

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
        """Return the loss with soft targets; in float32, or float64 if all is."""
        logits = self.network(micro["image"])
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.task is None:
            each = self.class_loss(logits, micro["target"])
        else:
            each = self.task.losses(logits, micro["target"])
        return each.sum() / self.schedule.global_batch_size

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Return top-1 and top-5 in per cent and the cross-entropy, summed over images.

        Beside them stand the images of each class, those of them whose first guess is right, and of
        each image that guess and its probability; those of all classes, if they are ranked.
        """
        logits = self.network(self.normalise(batch["image"])).double()
        label = batch["label"]
        if self.task is not None:
            return self.task.measure(logits, label)
        ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices
        right = ranked == label[:, None]
        probabilities = logits.softmax(dim=1)
        scores = {SCORES: probabilities} if self.best_metric == "best_auroc" else {}
        of_class = functional.one_hot(label, logits.shape[1]).double()  # (batch, classes)
        return {
            "top1": 100 * right[:, 0].double().sum(),
            "top5": 100 * right.any(dim=1).double().sum(),
            "heldout_loss": functional.cross_entropy(logits, label, reduction="sum"),
            NUM_OF: of_class.sum(dim=0),
            RIGHT_OF: (right[:, :1] * of_class).sum(dim=0),
            SAID: ranked[:, 0].double(),
            SURE: probabilities.amax(dim=1),
            **scores,
        }
