"""How much of the GPUs a run uses: of what they can compute, and of the time."""

import importlib
import importlib.util
import re
import threading
import time
from collections.abc import Callable
from statistics import mean
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer

from ssl_swin.training.learner import Learner
from ssl_swin.training.loggers import log

# Dense products, TFLOP/s, of NVIDIA's data sheets: (bf16 or fp16, TF32, float32); 0: cannot.
PEAKS = {
    "H200": (989.4, 494.7, 66.9),
    "H100 PCIe": (756.5, 378.0, 51.2),
    "H100 80GB HBM3": (989.4, 494.7, 66.9),
    "A100": (312.0, 156.0, 19.5),
    "L40S": (362.0, 183.0, 91.6),
    "A40": (149.7, 74.8, 37.4),
    "A10": (125.0, 62.5, 31.2),
    "L4": (121.0, 60.0, 30.3),
    "V100": (125.0, 0.0, 15.7),
    "T4": (65.0, 0.0, 8.1),
}
"""A card, as torch names it -> what it can do."""

_COLUMNS = {"bf16": 0, "fp16": 0, "tf32": 1, "fp32": 2}
_EVERY_S = 2.0  # between two looks at how busy the GPU is


def peak_flops(card: str, precision: str) -> float | None:
    """Return the FLOP/s of products that a card's maker names; None if not known here.

    The precision is that of the config, or "tf32". A part of a card (MIG) is not known.
    """
    if precision not in _COLUMNS or "MIG" in card:
        return None
    words = re.split(r"[\s-]+", card)
    for name, peaks in PEAKS.items():
        if set(name.split()) <= set(words):
            return peaks[_COLUMNS[precision]] * 1e12 or None
    return None


class Utilisation(Callback):
    """Logs MFU, and how busy the GPU of rank 0 is if `pip install nvidia-ml-py` lets NVML be asked.

    A thread asks, so that no step waits for the driver.

    Args:
        every_steps: Steps between points.
        most_images_per_s: Images that all GPUs together could train on in a second, by their
            makers; None if that is not known, and there is no MFU.
        busy: Returns the share of the last moments in which the GPU was busy, per cent, or None if
            that is not told; None if there is nobody to ask.
    """

    def __init__(
        self,
        every_steps: int,
        most_images_per_s: float | None,
        busy: Callable[[], float | None] | None = None,
    ) -> None:
        self.every_steps, self.most_images_per_s, self.busy = every_steps, most_images_per_s, busy
        self._began: tuple[int, float] | None = None  # step and time of the last point
        self._seen: list[float] = []
        self._over = threading.Event()

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:
        """Begin to look, on rank 0."""
        if self.busy is not None and trainer.is_global_zero:
            threading.Thread(target=self._look, name="utilisation", daemon=True).start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Learner, *_: Any) -> None:
        """Log if it is time, after `Scalars`, which waits for the device. Not the first step."""
        step, points = pl_module.step, dict[str, float]()
        if self._began is None:
            self._began = step, time.perf_counter()
        if step % self.every_steps or not trainer.is_global_zero:
            return
        (first, began), now = self._began, time.perf_counter()
        if self.most_images_per_s and step > first:
            images = (step - first) * pl_module.schedule.global_batch_size
            points["speed/mfu"] = 100 * images / (now - began) / self.most_images_per_s
        if self._seen:
            seen, self._seen = self._seen, []
            points["gpu/utilisation"] = mean(seen)
        self._began = step, now
        log(trainer, points)

    def teardown(self, trainer: Trainer, pl_module: Learner, stage: str) -> None:
        """Look no more."""
        self._over.set()

    def _look(self) -> None:
        assert self.busy is not None
        while not self._over.wait(_EVERY_S):
            now = self.busy()
            if now is None:
                return
            self._seen.append(now)


def asks_nvml(device: torch.device) -> Callable[[], float | None] | None:
    """Return what asks NVML how busy a GPU is; None if it is none, or its package is not there."""
    if device.type != "cuda" or importlib.util.find_spec("pynvml") is None:
        return None
    refusal = importlib.import_module("pynvml").NVMLError

    def ask() -> float | None:
        try:
            return float(torch.cuda.utilization(device))
        except (refusal, RuntimeError):  # the driver does not tell, as of a part of a card
            return None

    return ask
