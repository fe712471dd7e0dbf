"""The order of several shard sets with weights: place -> (set, pass, sample), by arithmetic."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby

import numpy as np

from ssl_swin.data.order.lanes import BLOCK_SIZE, Order, Share, Stretches, rank_lanes
from ssl_swin.data.order.one_set import SetOrder
from ssl_swin.draw import Purpose, permutation
from ssl_swin.errors import UserError

PERIOD = 1000  # places of a lane in a row, of which every set gets exactly its part


def quotas(weights: tuple[float, ...]) -> np.ndarray:
    """Return how many places of `PERIOD` each set gets, int64 (num_sets,); they sum to `PERIOD`.

    Parts are rounded down; the places left over go to the sets with the largest remainders. A set
    that would get none is a UserError.
    """
    exact = PERIOD * np.asarray(weights, dtype=np.float64) / sum(weights)  # (num_sets,)
    parts = np.floor(exact).astype(np.int64)
    by_remainder = np.argsort(parts - exact, kind="stable")
    parts[by_remainder[: PERIOD - parts.sum()]] += 1
    if not parts.all():
        place = int(np.argmin(parts))
        raise UserError(
            f"data.sets[{place}].weight={weights[place]} is less than 1/{PERIOD} of all weights; "
            "give it more, or leave the set out"
        )
    return parts


@dataclass(frozen=True, eq=False)
class Mixture(Order):
    """The order of a run over several shard sets, whose samples are numbered end to end.

    Lane `l` of the mixture is woven from the lanes `l` of the sets. It is a sequence of places, cut
    into periods of `PERIOD` places. In each period every set gets its part of them, in a drawn
    order; a place that a set gets is one of its turns. Turn `k` of a set reads sample `k mod n` of
    pass `k div n` over its lane of `n` samples. So each set goes through passes of its own, in
    which no sample repeats, and any place is found without those before it.

    Attributes:
        counts: Samples in each shard of each set, int64 (num_shards,) each.
        weights: Each set's part of the places, positive; rounded to 1/`PERIOD` of their sum.
        samples_per_epoch: Places in one epoch, dealt out as in `Dealing`.

    Raises:
        UserError: If the lanes do not divide the batch, an epoch is smaller than one batch, a set
            has fewer samples than lanes, or too small a weight.
    """

    counts: tuple[np.ndarray, ...]
    weights: tuple[float, ...]
    samples_per_epoch: int
    seed: int
    global_batch_size: int
    num_lanes: int
    block_size: int = BLOCK_SIZE

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples_per_epoch < self.global_batch_size:
            raise UserError(
                f"data.samples_per_epoch={self.samples_per_epoch} is less than one "
                f"global_batch_size={self.global_batch_size}; give a multiple of it"
            )
        for place, counts in enumerate(self.counts):
            if counts.sum() < self.num_lanes:
                raise UserError(
                    f"data.sets[{place}] holds {counts.sum()} samples, fewer than "
                    f"data.num_lanes={self.num_lanes}; use fewer lanes (a divisor of the global "
                    "batch), or leave the set out"
                )
        assert len(self._quotas) == len(self.counts)

    @cached_property
    def _quotas(self) -> np.ndarray:
        return quotas(self.weights)

    @property
    def steps_per_epoch(self) -> int:
        """Global batches in one epoch of `samples_per_epoch` places."""
        return self.samples_per_epoch // self.global_batch_size

    @cached_property
    def orders(self) -> tuple[SetOrder, ...]:
        """Each set's own order; its "steps" take one sample from each lane."""
        sizes = self.num_lanes, self.num_lanes, self.block_size
        return tuple(SetOrder(counts, self.seed, *sizes) for counts in self.counts)

    @property
    def num_samples(self) -> int:
        """Samples of all sets together."""
        return sum(order.num_samples for order in self.orders)

    @cached_property
    def starts(self) -> np.ndarray:
        """int64 (num_sets,): place of each set's first sample in all of them."""
        return np.cumsum([0, *(order.num_samples for order in self.orders[:-1])], dtype=np.int64)

    def share(self, step: int, rank: int = 0, world_size: int = 1) -> Share:
        """Return what a rank reads at a step of the run, counted from 0 over all epochs."""
        start = step * self.per_lane
        lanes = rank_lanes(self.num_lanes, rank, world_size)
        return Share.join([self._lane(lane, start, start + self.per_lane) for lane in lanes])

    def shards_at(self, step: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """Return the shards that hold the blocks which a rank reads from at a step of the run."""
        start = step * self.per_lane // self.block_size * self.block_size
        stop = -(-(step + 1) * self.per_lane // self.block_size) * self.block_size
        found = [
            self._first_shards[number] + order.opened(one).shards(lane, first, last)
            for lane in rank_lanes(self.num_lanes, rank, world_size)
            for number, order in enumerate(self.orders)
            for one, first, last in self._passes(number, lane, start, stop)
        ]
        return np.unique(np.concatenate(found))

    def next_block(self, step: int) -> int:
        """Return the first step after `step` that reads from a block which `step` does not."""
        last = ((step + 1) * self.per_lane - 1) // self.block_size
        return max(step + 1, (last + 1) * self.block_size // self.per_lane)

    def begins_ring(self, step: int) -> bool:  # noqa: ARG002
        """Never: each set goes through its passes on its own, and `stretches` counts them."""
        return False

    def stretches(self, num_lanes: int) -> list[Stretches]:
        """Bound what `shards_at` of a step and of the next block name together.

        A block of the mixture is a stretch of places. Two of them hold as many turns of a set or
        fewer. In each pass that the turns belong to, they are widened to the set's own blocks.
        """
        places = 2 * (self.per_lane // self.block_size + 2) * self.block_size
        found = []
        for number, order in enumerate(self.orders):
            turns = min(places, (places // PERIOD + 2) * int(self._quotas[number]))
            num_passes = turns // order.steps_per_epoch + 2
            window = min(turns + 2 * self.block_size, order.steps_per_epoch)
            found.append(Stretches(self._part(number), num_lanes * num_passes, window))
        return found

    def in_hand(self, num_lanes: int) -> list[Stretches]:
        """Bound what a step reads over some lanes: of each lane of each set, what it takes."""
        found = []
        for number, order in enumerate(self.orders):
            turns = -(-self.per_lane * int(self._quotas[number]) // PERIOD)
            found.append(Stretches(self._part(number), num_lanes, order.blocks_of(turns)))
        return found

    def _part(self, number: int) -> slice:
        """Return the shards of a set, in all of them."""
        begin = int(self._first_shards[number])
        return slice(begin, begin + len(self.counts[number]))

    @cached_property
    def _first_shards(self) -> np.ndarray:
        """int64 (num_sets,): place of each set's first shard in all of them."""
        return np.cumsum([0, *(len(counts) for counts in self.counts[:-1])], dtype=np.int64)

    def _passes(self, number: int, lane: int, start: int, stop: int) -> list[tuple[int, int, int]]:
        """Cut a set's turns in places [start, stop) of a lane: pass, [first, last) in its lane."""
        length = self.orders[number].steps_per_epoch
        first, last = (self._turns_before(number, lane, place) for place in (start, stop))
        return [
            (one, max(first - one * length, 0), min(last - one * length, length))
            for one in range(first // length, -(-last // length))
            if first < last
        ]

    def _turns_before(self, number: int, lane: int, place: int) -> int:
        """Count the turns of a set in a lane before `place`."""
        period, within = divmod(place, PERIOD)
        sets, _ = self._period(lane, period)
        return period * int(self._quotas[number]) + int((sets[:within] == number).sum())

    def _lane(self, lane: int, start: int, stop: int) -> Share:
        """Return the samples at places [start, stop) of a lane, counted over the whole run."""
        sets, turns = self._places(lane, start, stop)  # (stop - start,) each
        epoch, index = np.empty(stop - start, np.int64), np.empty(stop - start, np.int64)
        for number in np.unique(sets):
            mine = np.flatnonzero(sets == number)  # (turns of the set,)
            order = self.orders[number]
            # (turns of the set,) -> pass and position in the set's lane of each
            passes, within = np.divmod(turns[mine], order.steps_per_epoch)
            epoch[mine] = passes
            for one, group in groupby(range(len(mine)), key=passes.__getitem__):
                part = list(group)  # these turns follow each other, so they are one stretch
                first = int(within[part[0]])
                samples = order.opened(int(one)).lane(lane, first, first + len(part))
                index[mine[part]] = self.starts[number] + samples
        return Share(epoch, index)

    def _places(self, lane: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the set of each place in [start, stop) of a lane, and which turn of it that is."""
        periods = range(start // PERIOD, -(-stop // PERIOD))
        pieces = [(one, *self._period(lane, one)) for one in periods]
        # [(PERIOD,), ...] -> (whole periods,) -> (stop - start,)
        part = slice(start % PERIOD, start % PERIOD + stop - start)
        sets = np.concatenate([sets for _, sets, _ in pieces])
        turns = np.concatenate([one * self._quotas[sets] + before for one, sets, before in pieces])
        return sets[part], turns[part]

    @cached_property
    def _period(self) -> Callable[[int, int], tuple[np.ndarray, np.ndarray]]:
        return lru_cache(maxsize=2 * self.num_lanes)(self._draw_period)

    def _draw_period(self, lane: int, period: int) -> tuple[np.ndarray, np.ndarray]:
        """Weave one period: the set of each place, and the set's turns in the period before it."""
        chosen = permutation(PERIOD, self.seed, Purpose.MIXTURE, lane, period)
        # (num_sets,) -> (PERIOD,), shuffled
        sets = np.repeat(np.arange(len(self._quotas)), self._quotas)[chosen]
        before = np.empty(PERIOD, np.int64)
        for number, part in enumerate(self._quotas):
            before[sets == number] = np.arange(part)
        return sets, before
