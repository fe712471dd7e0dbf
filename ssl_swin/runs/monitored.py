"""What monitors of a pretraining look at: which images, how many, how often."""

import numpy as np

from ssl_swin.config.run import RunConfig
from ssl_swin.data.batches.labels import all_labels, some_of_each_class
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.pixels.transforms import EvaluationTransform
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import UserError
from ssl_swin.runs.channels import reading_of
from ssl_swin.runs.sets import RunSets
from ssl_swin.runs.sizes import Sizes, plan_monitors
from ssl_swin.training.datamodule import Heldout
from ssl_swin.training.fixed_images import FixedImages
from ssl_swin.training.monitors import Monitored


def monitored_of(
    config: RunConfig, opened: RunSets, images: ShardSet | Heldout, sizes: Sizes
) -> Monitored | None:
    """Return what is looked at: some images, and some of the labelled set, if there is one.

    They are held-out images, if there are any, or else those of training, spread over their set;
    those of the labelled set are drawn by seed.

    Raises:
        UserError: If no class of the labelled set has two images.
    """
    labelled = opened.labelled
    if isinstance(images, Heldout):
        stream = images.stream
    else:
        stream = evaluation_stream(config, images, opened).one_by_one()
    sets = [stream.shards] + ([] if labelled is None else [labelled])
    plan = plan_monitors(config, sizes, [one.num_samples for one in sets])
    if plan is None or plan.num_images[0] < 2:
        return None
    num, batch_size = plan.num_images, config.training.micro_batch_size
    place = np.linspace(0, len(stream) - 1, num[0]).astype(np.int64)
    unlabelled = FixedImages(stream, place, batch_size)
    if labelled is None:
        return Monitored(plan.every_steps, unlabelled)
    label = all_labels(labelled, "label")
    place = some_of_each_class(label, num[1], config.seed)
    if not len(place):
        raise UserError(
            f"data.labelled_shards={config.data.labelled_shards} holds no class with two images, "
            f"of {labelled.num_samples}; give labelled ones, or null for no kNN"
        )
    few = evaluation_stream(config, labelled, opened).one_by_one()
    known = FixedImages(few, place, batch_size, label[place])
    return Monitored(plan.every_steps, unlabelled, known)


def evaluation_stream(config: RunConfig, shards: ShardSet, opened: RunSets) -> ImageStream:
    """Return the images of a set in the form of evaluation, without labels."""
    data, img_size = config.data, config.model.img_size
    transform = EvaluationTransform(img_size, data.crop_pct)
    reading = reading_of(data, shards, opened)
    return ImageStream(shards, transform, img_size, len(data.mean), None, reading)
