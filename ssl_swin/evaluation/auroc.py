"""How well scores tell each class from all others, however many images it has."""

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc


def areas(scores: Tensor, label: Tensor, first: int = 0) -> Tensor:
    """Return the area under the ROC curve of some classes, each against all others.

    It is the chance that an image of the class has a higher score than one of another class; of
    equal scores, half. Exact: no thresholds are chosen.

    Args:
        scores: Of each image for these classes, float64 (images, some classes).
        label: The class of each image, (images,).
        first: The number of the first of these classes.

    Returns:
        float64 (classes,) on the CPU, in [0, 1]: those of classes that have images and lack some.

    Source:
        torchmetrics, ``binary_auroc``, one against the rest; the mean over classes is the macro
        average.
    """
    found = []
    for number, column in enumerate(scores.unbind(1), first):
        of_class = label == number
        if of_class.any() and not of_class.all():
            area = binary_auroc(column, of_class.long(), thresholds=None, validate_args=False)
            found.append(area.double().cpu())
    return torch.stack(found) if found else torch.zeros(0, dtype=torch.float64)
