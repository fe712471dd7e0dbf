"""Fine-tuning as Lightning sees it: erase, mix, classify, and the loss over the global batch."""

from dataclasses import dataclass
from typing import Any

import torch
from timm.data.mixup import Mixup
from torch import Tensor
from torch.nn import functional

from ssl_swin.data.batches.batch import Batch
from ssl_swin.data.pixels.transforms import random_erasing
from ssl_swin.draw import Purpose, seeded_globals
from ssl_swin.models.classifier import Classifier
from ssl_swin.models.normalise import Normalisation
from ssl_swin.training.learner import Learner, Schedule
from ssl_swin.training.optim import finetune_groups


@dataclass(frozen=True)
class Regularisation:
    """What happens to a rank's share before the network: erasing, mixup, CutMix, smoothing."""

    seed: int
    num_classes: int
    erasing: float
    mixup: float
    cutmix: float
    label_smoothing: float

    def __call__(self, images: Tensor, batch: Batch, step: int, rank: int) -> tuple[Tensor, Tensor]:
        """Return images and soft targets (batch, num_classes).

        Source:
            timm's Mixup in batch mode, probability 1, switch 0.5, drawn within the rank's share. An
            odd share, which timm refuses, keeps its last image unmixed.
        """
        if self.erasing:
            images = random_erasing(images, batch["index"], batch["epoch"], self.seed, self.erasing)
        targets = self._smooth(batch["label"]).to(images.dtype)
        even = len(images) // 2 * 2
        if even and (self.mixup or self.cutmix):
            mix = Mixup(
                mixup_alpha=self.mixup,
                cutmix_alpha=self.cutmix,
                label_smoothing=self.label_smoothing,
                num_classes=self.num_classes,
            )
            with seeded_globals(Purpose.MIXUP, self.seed, step, rank):
                mixed, soft = mix(images[:even], batch["label"][:even])
            images[:even], targets[:even] = mixed, soft.to(images.dtype)
        return images, targets

    def _smooth(self, label: Tensor) -> Tensor:
        targets = functional.one_hot(label, self.num_classes).double()
        return targets * (1 - self.label_smoothing) + self.label_smoothing / self.num_classes


class FinetuneModule(Learner):
    """A classifier over global batches; `layer_decay` scales the rate from layer to layer."""

    network: Classifier

    def __init__(
        self,
        classifier: Classifier,
        normalise: Normalisation,
        regularise: Regularisation,
        schedule: Schedule,
        layer_decay: float,
    ) -> None:
        super().__init__(classifier, normalise, schedule)
        self.regularise, self.layer_decay = regularise, layer_decay

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the official groups of fine-tuning."""
        return finetune_groups(self.network, self.schedule.weight_decay, self.layer_decay)

    def prepare(self, batch: Batch) -> Batch:
        """Normalise, erase and mix within the rank's share, before it is cut."""
        images, targets = self.regularise(
            self.normalise(batch["image"]), batch, self.step, self.global_rank
        )
        return {"image": images, "target": targets, "index": batch["index"]}

    def loss(self, micro: Batch) -> Tensor:
        """Return the cross-entropy with soft targets; in float32 under autocast."""
        logits = self.network(micro["image"])
        logits = logits.float() if logits.dtype == torch.bfloat16 else logits
        losses = -(micro["target"] * functional.log_softmax(logits, dim=-1)).sum(dim=-1)
        return losses.sum() / self.schedule.global_batch_size

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Return top-1 and top-5 in per cent and the cross-entropy, summed over images."""
        logits = self.network(self.normalise(batch["image"])).double()
        label = batch["label"]
        right = logits.topk(min(5, logits.shape[1]), dim=1).indices == label[:, None]
        return {
            "top1": 100 * right[:, 0].double().sum(),
            "top5": 100 * right.any(dim=1).double().sum(),
            "heldout_loss": functional.cross_entropy(logits, label, reduction="sum"),
        }
