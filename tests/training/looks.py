"""What a test makes a training process do while it looks at features; runs inside that process."""

import itertools
import os
import signal
import time
from typing import Any

from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.runs import sizes
from ssl_swin.training.monitors import Monitors
from ssl_swin.training.pretrain import PretrainModule
from tests.training.stops import killed_while_it_measures, send

STEPS = 8  # of an epoch


def look_every_epoch(_rank: int = 0) -> None:
    """At as many images as an epoch has."""
    sizes.MONITORED_SHARE, sizes.FEWEST_MONITORED = 1.0, 1


def signal_in_a_look(rank: int) -> None:
    """On the last rank alone, once, while features of the second batch are computed."""
    look_every_epoch()
    take, count = PretrainModule.features_of_stages, itertools.count()

    def features(self: PretrainModule, images: Any) -> Any:
        if next(count) == 1 and rank == int(os.environ.get("WORLD_SIZE", "1")) - 1:
            send(signal.SIGUSR1)
        return take(self, images)

    PretrainModule.features_of_stages = features  # type: ignore[method-assign]


def signal_while_a_look_waits(_rank: int) -> None:
    """For storage that does not answer, ever."""
    look_every_epoch()
    read, count = ImageStream.__getitems__, itertools.count()

    def stalled(self: ImageStream, share: Any) -> Any:
        if next(count) == STEPS:
            send(signal.SIGUSR1)
            time.sleep(600)
        return read(self, share)

    ImageStream.__getitems__ = stalled  # type: ignore[method-assign]


def killed_in_the_measurement_after_a_look(rank: int) -> None:
    """The best look is the first; then comes a warning, and no time to measure to the end."""
    best_is_first(rank)
    killed_while_it_measures(rank)


def best_is_first(_rank: int = 0) -> None:
    """Let each look find less than the one before."""
    look_every_epoch()
    look = Monitors._look

    def falling(self: Monitors, trainer: Any, module: PretrainModule, may_stop: bool) -> Any:
        return look(self, trainer, module, may_stop) | {"knn": 50.0 - module.step}

    Monitors._look = falling  # type: ignore[method-assign]
