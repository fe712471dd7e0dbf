"""Fine-tuning with every augmentation on, for so many images that each one goes to its ends."""

import random
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from ssl_swin.data.pixels.transforms import TrainTransform
from ssl_swin.record.lines import read_lines
from tests.training.launch import finetune_config, train

NUM_SAMPLES, EPOCHS = 203, 12
SEED = 32  # most seeds take twice as many images to draw every end
POLICY = "rand-m9-mstd0.5-inc1"
FURTHEST = 10.0  # where timm cuts magnitudes off


def far_ends(operation: Any) -> set[tuple]:
    """What an operation is given at the far end; two things where a sign is thrown."""
    random.seed(0)
    return {operation.level_fn(FURTHEST, operation.hparams) for _ in range(20)}


def draws(transform: TrainTransform, epochs: dict[int, list[int]]) -> dict[str, list[tuple]]:
    """Magnitude and argument of every application of each operation to these images."""
    drawn: dict[str, list[tuple]] = {}

    def level(operation: Any, function: Any, magnitude: float, hparams: dict) -> tuple:
        argument = function(magnitude, hparams)
        drawn[operation.name].append((magnitude, argument))
        return argument

    def apply(operation: Any, function: Any, *args: Any, **kwargs: Any) -> Image.Image:
        if operation.level_fn is None:
            drawn[operation.name].append(())
        return function(*args, **kwargs)

    for operation in transform._policy.ops:
        drawn[operation.name] = []
        operation.aug_fn = partial(apply, operation, operation.aug_fn)
        if operation.level_fn is not None:
            operation.level_fn = partial(level, operation, operation.level_fn)
    pixel = Image.new("RGB", (1, 1))  # what is drawn does not depend on the image
    for epoch, places in epochs.items():
        for place in places:
            transform.finish(pixel, epoch, place)
    return drawn


def test_a_run_ends_that_draws_every_operation_of_rand_augment_at_both_ends(tmp_path, shards):
    config = finetune_config(tmp_path / "run", shards, checkpoint_every_steps=0)
    config = replace(
        config,
        data=replace(config.data, val_shards=None),
        optim=replace(config.optim, epochs=EPOCHS),
        seed=SEED,
    )
    assert config.data.rand_augment == POLICY
    assert min(config.data.erasing, config.optim.mixup, config.optim.cutmix) > 0
    folder = train(config)

    steps_per_epoch = NUM_SAMPLES // config.training.global_batch_size
    epochs: dict[int, list[int]] = {}
    for line in read_lines(Path(folder) / "ledger" / "rank-0000.jsonl"):
        epochs.setdefault(line["step"] // steps_per_epoch, []).extend(line["ids"])
    assert [len(places) for places in epochs.values()] == [192] * EPOCHS

    transform = TrainTransform(SEED, config.model.img_size, (0.08, 1.0), rand_augment=POLICY)
    drawn = draws(transform, epochs)
    assert len(drawn) == 15
    for operation in TrainTransform(0, 32, (1.0, 1.0), rand_augment=POLICY)._policy.ops:
        found = drawn[operation.name]
        assert found, operation.name
        if operation.level_fn is not None:
            assert min(magnitude for magnitude, _ in found) < 8, operation.name
            at_the_far_end = {argument for magnitude, argument in found if magnitude == FURTHEST}
            assert at_the_far_end == far_ends(operation), operation.name
    assert (FURTHEST, (0,)) in drawn["PosterizeIncreasing"]
