"""The labels of a set as a classifier numbers its classes: by name, never by number alone."""

import numpy as np

from ssl_swin.data.batches.labels import Labels, all_labels
from ssl_swin.data.shards.classes import CLASSES_NAME, listed, names_of, numbers_among
from ssl_swin.data.shards.label_file import MISSING
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import UserError


def labels_by_name(
    shards: ShardSet, where: str, classes: tuple[str, ...], field: str
) -> np.ndarray:
    """Return the number that each sample's class has among `classes`, int64 (num_samples,).

    It is -1 of a sample that a file of labels leaves out. The set may lack some of the classes, and
    have them in another order.

    Args:
        shards: The set.
        where: How it is called.
        classes: The classifier's; numbers as text where nobody gave names.
        field: Of a `.json` member that holds the label.

    Raises:
        UserError: If a sample has no label, or a class that the classifier does not know by name.
        ShardError: If the set's names are damaged.
    """
    if (all_labels(shards, field) == MISSING).all():
        raise UserError(
            f"{where} has no labels, so nothing can be measured; ssl-swin predict needs none"
        )
    names = names_of(shards)
    if names is None:
        if classes != tuple(map(str, range(len(classes)))):
            raise UserError(
                f"{where} has no {CLASSES_NAME} beside its tars, so its labels are numbers, while "
                f"the classifier knows names ({listed(classes)}): write it, as a JSON list of "
                "names in the order of the numbers"
            )
        names = classes
    label = Labels(len(names), field).all(shards, where)  # (num_samples,)
    used = np.unique(label[label >= 0]).tolist()
    numbers = numbers_among(names, used, classes, where, "the classifier")
    return np.array([*numbers, -1])[label]  # -1 is the last
