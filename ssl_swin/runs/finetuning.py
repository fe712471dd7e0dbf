"""Config -> what learns in a fine-tuning: the encoder's weights, the loss, and what it is shown."""

from typing import Any

from ssl_swin.config.run import FinetuneConfig
from ssl_swin.models.class_loss import ClassLoss
from ssl_swin.models.classifier import Classifier
from ssl_swin.models.normalise import Normalisation
from ssl_swin.runs.labelled import LabelledImages
from ssl_swin.runs.network import build_classifier
from ssl_swin.runs.resume import Start
from ssl_swin.runs.weights import take_weights
from ssl_swin.training.erasing import Erasing
from ssl_swin.training.finetune import FinetuneModule
from ssl_swin.training.learner import Schedule
from ssl_swin.training.regularise import Regularisation
from ssl_swin.training.tasks import Task
from ssl_swin.training.trainer import say


def finetune_module(
    config: FinetuneConfig,
    schedule: Schedule,
    images: LabelledImages,
    start: Start,
    task: Task | None = None,
) -> FinetuneModule:
    """Build what learns, with the encoder's weights if the run is new: else a checkpoint has them.

    Raises:
        UserError: If the encoder's file cannot be read, or does not fit; if classes are weighed
            that there are not.
    """
    classifier, data, optim = build_classifier(config), config.data, config.optim
    loaded = _load(classifier, config) if start.state is None else None
    regularisation = Regularisation(
        seed=config.seed,
        num_classes=config.counted_classes,
        mixup=optim.mixup,
        cutmix=optim.cutmix,
        label_smoothing=optim.label_smoothing,
    )
    normalise = Normalisation.of(data)
    erasing = Erasing(config.seed, data.erasing_draws) if data.erasing else None
    gamma = config.finetune.focal_gamma if config.finetune.loss == "focal" else 0.0
    module = FinetuneModule(
        classifier, normalise, regularisation, schedule, optim.layer_decay, erasing
    )
    module.loaded = loaded
    module.class_loss = ClassLoss(images.class_weights(config, start.classes), gamma)
    module.head_steps = config.finetune.head_epochs * schedule.steps_per_epoch
    module.learn(task)
    if config.training.best != "none":
        module.best_metric = f"best_{config.training.best}"
    module.ema_decay = config.training.ema_decay
    if module.ema_decay is not None:
        say(
            "what is measured and handed off is the moving average of the weights, decay "
            f"{module.ema_decay:g}"
        )
    return module


def _load(classifier: Classifier, config: FinetuneConfig) -> dict[str, Any] | None:
    """Give a new run the weights of its encoder's file; return what became of them, if any."""
    part = config.finetune.freeze
    if config.encoder is None and part:
        say(f"warning: finetune.freeze={part} of an encoder that knows nothing")
    return take_weights(classifier.encoder, config)
