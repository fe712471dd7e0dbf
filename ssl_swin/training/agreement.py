"""Lets ranks agree while they train: on the largest of their integers, over the CPU."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist


class Agreement:
    """Finds the largest of all ranks' integers while the ranks go on with the next step.

    It has a gloo group of its own, so that the exchange runs on the CPU and waits for no device.

    Args:
        world_size: Number of ranks; all of them make this object at the same time.
        timeout: How long one rank waits for the others.
    """

    def __init__(self, world_size: int, timeout: timedelta) -> None:
        self._group: Any = None
        if world_size > 1:
            self._group = dist.new_group(backend="gloo", timeout=timeout)
        self._values = torch.zeros(0, dtype=torch.int64)
        self._work: dist.Work | None = None

    def start(self, values: Sequence[int]) -> None:
        """Hand in this rank's integers, as many on every rank."""
        self._values = torch.tensor(values, dtype=torch.int64)
        if self._group is not None:
            highest = dist.ReduceOp.MAX
            self._work = dist.all_reduce(self._values, highest, self._group, async_op=True)

    def wait(self) -> list[int]:
        """Return the largest of what all ranks have handed in."""
        if self._work is not None:
            self._work.wait()
            self._work = None
        return self._values.tolist()
