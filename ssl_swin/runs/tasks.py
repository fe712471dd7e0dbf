"""What a fine-tuning learns, by its config, and what of its settings that leaves without sense."""

from ssl_swin.config.run import FinetuneConfig
from ssl_swin.data.shards.given import MULTI, NUMBERS, SINGLE, GivenLabels
from ssl_swin.errors import UserError
from ssl_swin.training.tasks import Numbers, SeveralClasses, Task

_MIXING = ("mixup", "cutmix", "label_smoothing")


def require_unmixed(config: FinetuneConfig) -> None:
    """Refuse numbers of images that are mixed or smoothed.

    Raises:
        UserError: If they would be.
    """
    given = {f"optim.{name}": getattr(config.optim, name) for name in _MIXING}
    asked = [f"{name}={value}" for name, value in given.items() if value]
    if config.task == NUMBERS and asked:
        raise UserError(
            f"{', '.join(asked)}: a mixed image has no number of its own, so task=regression takes "
            f"none of {', '.join(given)}; set each to 0"
        )


def task_of(config: FinetuneConfig, labels: GivenLabels | None) -> Task | None:
    """Return what is learned of the training labels; None for one class of each image.

    Raises:
        UserError: If numbers would be mixed or smoothed.
    """
    if config.task == SINGLE:
        return None
    if config.task == MULTI:
        return SeveralClasses()
    require_unmixed(config)
    assert labels is not None
    assert labels.scale is not None
    return Numbers(config.regression_loss, labels.scale[1])
