"""The order of one set in which all classes come alike: (seed, place) -> (pass, sample).

The places of a whole run are cut into rounds, one place for each class, in a drawn order. So in
round `r` each class has its turn `r`. Of a class with `n` images turn `r` is image `r mod n` of its
pass `r div n`, and each pass has all images of the class once, in a drawn order. So no image of a
class comes a second time before each other one has come, and rare classes repeat. Plain numbers,
from NumPy alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from ssl_swin.data.order.lanes import Order, Share, Stretches, rank_lanes
from ssl_swin.draw import Purpose, raw

_AT_ONCE = 1000  # numbers of one draw: a short permutation is drawn with those after it


@dataclass(frozen=True, eq=False)
class BalancedOrder(Order):
    """The order of a run that draws each class as often as any other, dealt out as in `Dealing`.

    An epoch has as many places as there are samples, so an image of a class with `n` of `num`
    samples is seen ``num / (classes * n)`` times in an epoch, give or take what begins and ends it.

    A lane of a global batch is a stretch of its places: of all that is read, anything may lie
    anywhere, so as with other `places` all shards count as one.

    Attributes:
        places: Places in the shard set of the samples that the run uses, int64 (num_samples,).
        classes: The class of each of them, int64 (num_samples,).

    Raises:
        UserError: If the lanes do not divide the batch.
    """

    places: np.ndarray = field(repr=False)
    classes: np.ndarray = field(repr=False)
    seed: int
    global_batch_size: int
    num_lanes: int

    @property
    def num_samples(self) -> int:
        """Samples that the order is of."""
        return len(self.places)

    @property
    def steps_per_epoch(self) -> int:
        """Global batches of one epoch; what is left over goes to the next one."""
        return self.num_samples // self.global_batch_size

    @cached_property
    def members(self) -> list[np.ndarray]:
        """Places in the shard set of the samples of each class that has any, int64 each."""
        _, first = np.unique(np.sort(self.classes), return_index=True)
        return np.split(self.places[np.argsort(self.classes, kind="stable")], first[1:])

    def times_seen(self) -> np.ndarray:
        """Return how often an image of each class that has any is seen in an epoch, float64."""
        num = self.steps_per_epoch * self.global_batch_size
        return num / len(self.members) / np.array([len(one) for one in self.members])

    def share(self, step: int, rank: int = 0, world_size: int = 1) -> Share:
        """Return what a rank reads at a step of the run, counted from 0 over all epochs."""
        lanes = rank_lanes(self.num_lanes, rank, world_size)
        start = step * self.global_batch_size
        return self._at(start + lanes.start * self.per_lane, start + lanes.stop * self.per_lane)

    def shards_at(self, step: int, rank: int = 0, world_size: int = 1) -> np.ndarray:  # noqa: ARG002
        """Return the one that all shards count as."""
        return np.zeros(1, np.int64)

    def next_block(self, step: int) -> int:
        """Return the next step: nothing is read in blocks."""
        return step + 1

    def begins_ring(self, step: int) -> bool:  # noqa: ARG002
        """Never: there is no ring."""
        return False

    def stretches(self, num_lanes: int) -> list[Stretches]:  # noqa: ARG002
        """Return one stretch that holds all samples."""
        return [Stretches(slice(None), 1, self.num_samples)]

    def in_hand(self, num_lanes: int) -> list[Stretches]:
        """Return the same."""
        return self.stretches(num_lanes)

    def _at(self, start: int, stop: int) -> Share:
        """Return the samples at places [start, stop) of the run."""
        num = len(self.members)
        rounds, within = np.divmod(np.arange(start, stop), num)  # (stop - start,) each
        # (stop - start,): the class that comes at each place, counted in `members`
        turns = self._shuffled(Purpose.CLASS_ORDER, num, rounds, within)
        epoch, index = np.empty(stop - start, np.int64), np.empty(stop - start, np.int64)
        for kind in np.unique(turns).tolist():
            mine, members = np.flatnonzero(turns == kind), self.members[kind]
            # (places of the class,) -> pass, and position in the pass, of each
            passes, position = np.divmod(rounds[mine], len(members))
            chosen = self._shuffled(Purpose.WITHIN_CLASS, len(members), passes, position, kind)
            epoch[mine], index[mine] = passes, members[chosen]
        return Share(epoch, index)

    def _shuffled(
        self, purpose: Purpose, size: int, numbers: np.ndarray, at: np.ndarray, kind: int = 0
    ) -> np.ndarray:
        """Return what stands at places `at` of permutations with these numbers, (number of them,).

        Both are int64; each permutation is of `range(size)`, and short ones are drawn together.
        """
        num = max(1, _AT_ONCE // size)
        draws, row = np.divmod(numbers, num)
        found = np.empty(len(numbers), np.int64)
        for draw in np.unique(draws).tolist():
            mine = draws == draw
            drawn = self._permutations(purpose, kind, (num, size), draw)
            found[mine] = drawn[row[mine], at[mine]]
        return found

    @cached_property
    def _permutations(self) -> Callable[[Purpose, int, tuple[int, int], int], np.ndarray]:
        def draw(purpose: Purpose, kind: int, shape: tuple[int, int], number: int) -> np.ndarray:
            bits = raw(shape[0] * shape[1], self.seed, purpose, kind, number)
            return np.argsort(bits.reshape(shape), axis=1, kind="stable").astype(np.int32)

        return lru_cache(maxsize=2 * len(self.members) + 2)(draw)
