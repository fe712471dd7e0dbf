"""Several shard sets with weights as one order: place -> (set, pass, sample) by arithmetic."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby

import numpy as np

from ssl_swin.data.order.one_set import (
    BLOCK_SIZE,
    Order,
    SetOrder,
    Share,
    Stretches,
    default_num_lanes,
    rank_lanes,
    require_lanes_divide,
)
from ssl_swin.draw import Purpose, permutation

PERIOD = 1000  # places of a lane in which every set has exactly its part


def quotas(weights: tuple[float, ...]) -> np.ndarray:
    """Return how many of `PERIOD` places each set gets, by largest remainder, int64 (num_sets,).

    Raises:
        ValueError: If a set would get none.
    """
    exact = PERIOD * np.asarray(weights, dtype=np.float64) / sum(weights)
    parts = np.floor(exact).astype(np.int64)
    by_remainder = np.argsort(parts - exact, kind="stable")
    parts[by_remainder[: PERIOD - parts.sum()]] += 1
    if not parts.all():
        place = int(np.argmin(parts))
        raise ValueError(
            f"data.sets[{place}].weight={weights[place]} is less than 1/{PERIOD} of all weights; "
            "give it more, or leave the set out"
        )
    return parts


@dataclass(frozen=True, eq=False)
class Mixture(Order):
    """The order of a run over several shard sets, whose samples are numbered end to end.

    Lane `l` of the mixture is woven from the lanes `l` of the sets: of each `PERIOD` places in
    turn, every set gets its part, in a drawn order. The k-th place that falls to a set is sample
    `k mod n` of pass `k div n` over its lane of `n` samples. So each set goes through passes of its
    own, in which no sample repeats, and any place of the run is found without what came before.

    Attributes:
        counts: Samples in each shard of each set.
        weights: Each set's share of the places, positive; rounded to 1/`PERIOD` of their sum.
        samples_per_epoch: Places in one epoch.
        seed: The run's seed, not negative.
        global_batch_size: Samples in one optimiser step over all ranks.
        num_lanes: Lanes the places are dealt in; divides the global batch size.
        block_size: Samples of a set shuffled together inside a lane.

    Raises:
        ValueError: If the lanes do not divide the batch, an epoch is smaller than one batch, a set
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
        require_lanes_divide(self.num_lanes, self.global_batch_size)
        if self.samples_per_epoch < self.global_batch_size:
            raise ValueError(
                f"data.samples_per_epoch={self.samples_per_epoch} is less than one "
                f"global_batch_size={self.global_batch_size}; give a multiple of it"
            )
        for place, counts in enumerate(self.counts):
            if counts.sum() < self.num_lanes:
                raise ValueError(
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
        return tuple(
            SetOrder(counts, self.seed, self.num_lanes, self.num_lanes, self.block_size)
            for counts in self.counts
        )

    @property
    def num_samples(self) -> int:
        """Samples of all sets together."""
        return sum(order.num_samples for order in self.orders)

    @cached_property
    def starts(self) -> np.ndarray:
        """int64 (num_sets,): number of each set's first sample in all of them."""
        sizes = [order.num_samples for order in self.orders]
        return np.cumsum([0, *sizes[:-1]], dtype=np.int64)

    def draw(self, step: int, rank: int = 0, world_size: int = 1) -> Share:
        """Return what a rank reads at a step of the run, counted from 0 over all epochs."""
        start = step * self.per_lane
        lanes = rank_lanes(self.num_lanes, rank, world_size)
        return Share.join([self._lane(lane, start, start + self.per_lane) for lane in lanes])

    def shards_at(self, step: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """Return the shards in which a rank's blocks in progress at a step of the run lie."""
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
        """Return the first step after `step` that reads a block which `step` does not."""
        last = ((step + 1) * self.per_lane - 1) // self.block_size
        return max(step + 1, (last + 1) * self.block_size // self.per_lane)

    def begins_line(self, step: int) -> bool:  # noqa: ARG002
        """Never: each set goes through its passes on its own, and `stretches` counts them."""
        return False

    def stretches(self, num_lanes: int) -> list[Stretches]:
        """Bound what `shards_at` of a step and of the next block name together.

        Two blocks of the mixture, each a stretch of places, are as many turns of a set or fewer,
        widened to the set's own blocks in each pass that they are part of.
        """
        places = 2 * (self.per_lane // self.block_size + 2) * self.block_size
        found = []
        for number, order in enumerate(self.orders):
            turns = min(places, (places // PERIOD + 2) * int(self._quotas[number]))
            num_passes = turns // order.steps_per_epoch + 2
            window = min(turns + 2 * self.block_size, order.steps_per_epoch)
            begin = int(self._first_shards[number])
            part = slice(begin, begin + len(order.counts))
            found.append(Stretches(part, num_lanes * num_passes, window))
        return found

    @cached_property
    def _first_shards(self) -> np.ndarray:
        """int64 (num_sets,): place of each set's first shard in all of them."""
        return np.cumsum([0, *(len(counts) for counts in self.counts[:-1])], dtype=np.int64)

    def _passes(self, number: int, lane: int, start: int, stop: int) -> list[tuple[int, int, int]]:
        """Cut a set's turns in places [start, stop) of a lane: pass, first and last position."""
        length = self.orders[number].steps_per_epoch
        first, last = (self._turns_before(number, lane, place) for place in (start, stop))
        return [
            (one, max(first - one * length, 0), min(last - one * length, length))
            for one in range(first // length, -(-last // length))
            if first < last
        ]

    def _turns_before(self, number: int, lane: int, place: int) -> int:
        """Count the places of a lane before `place` that fall to a set."""
        period, within = divmod(place, PERIOD)
        sets, _ = self._period(lane, period)
        return period * int(self._quotas[number]) + int((sets[:within] == number).sum())

    def _lane(self, lane: int, start: int, stop: int) -> Share:
        """Return the samples at places [start, stop) of a lane, counted over the whole run."""
        sets, turns = self._places(lane, start, stop)
        epoch, index = np.empty(stop - start, np.int64), np.empty(stop - start, np.int64)
        for number in np.unique(sets):
            mine = np.flatnonzero(sets == number)
            order = self.orders[number]
            passes, within = np.divmod(turns[mine], order.steps_per_epoch)
            epoch[mine] = passes
            for one, group in groupby(range(len(mine)), key=passes.__getitem__):
                part = list(group)  # turns follow each other, so the part is one stretch
                first = int(within[part[0]])
                samples = order.opened(int(one)).lane(lane, first, first + len(part))
                index[mine[part]] = self.starts[number] + samples
        return Share(epoch, index)

    def _places(self, lane: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the set of each place of a lane, and how many places the set had there before."""
        pieces = [
            (period, *self._period(lane, period))
            for period in range(start // PERIOD, -(-stop // PERIOD))
        ]
        begin = start - pieces[0][0] * PERIOD
        part = slice(begin, begin + stop - start)
        sets = np.concatenate([sets for _, sets, _ in pieces])
        turns = np.concatenate(
            [period * self._quotas[sets] + before for period, sets, before in pieces]
        )
        return sets[part], turns[part]

    @cached_property
    def _period(self) -> Callable[[int, int], tuple[np.ndarray, np.ndarray]]:
        return lru_cache(maxsize=2 * self.num_lanes)(self._draw_period)

    def _draw_period(self, lane: int, period: int) -> tuple[np.ndarray, np.ndarray]:
        """Weave one period: each place's set, and how many places of the period it had before."""
        parts = self._quotas
        key = (self.seed, Purpose.MIXTURE, lane, period)
        sets = np.repeat(np.arange(len(parts)), parts)[permutation(PERIOD, *key)]
        before = np.empty(PERIOD, np.int64)
        for number, part in enumerate(parts):
            before[sets == number] = np.arange(part)
        return sets, before


def order_of(
    counts: tuple[np.ndarray, ...],
    weights: tuple[float, ...],
    samples_per_epoch: int | None,
    seed: int,
    global_batch_size: int,
    num_lanes: int | None,
    block_size: int,
    places: np.ndarray | None = None,
) -> Order:
    """Return the order of one set, or of several with weights, as a run's settings say.

    Args:
        counts: Samples in each shard of each set.
        weights: Of each set; empty for one set that is gone through evenly.
        samples_per_epoch: Of a mixture; None means as many as the sets hold.
        seed: The run's seed.
        global_batch_size: Samples in one optimiser step over all ranks.
        num_lanes: None means the largest divisor of the batch up to 64.
        block_size: Samples shuffled together inside a lane.
        places: As in `SetOrder`, for one set.

    Raises:
        ValueError: As `SetOrder` and `Mixture`.
    """
    num_lanes = default_num_lanes(global_batch_size) if num_lanes is None else num_lanes
    if not weights:
        (alone,) = counts
        return SetOrder(alone, seed, global_batch_size, num_lanes, block_size, places)
    if samples_per_epoch is None:
        samples_per_epoch = int(sum(one.sum() for one in counts))
    return Mixture(
        counts, weights, samples_per_epoch, seed, global_batch_size, num_lanes, block_size
    )
