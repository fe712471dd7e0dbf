"""Laws of the order, swept over shard sets, lanes, layouts and places drawn by seed."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pytest

from ssl_swin.data.order.lanes import default_num_lanes
from ssl_swin.data.order.one_set import SetOrder
from ssl_swin.data.order.shares import Shares, micro_batch_bounds

NUM_CASES = 200
WORLD_SIZES = (1, 2, 3, 4, 6, 8, 16, 64, 65, 96, 128)


@dataclass(frozen=True)
class Case:
    """One shard set and one way to deal it; `number` seeds what a test draws."""

    number: int
    counts: tuple[int, ...]
    batch: int
    lanes: int
    block: int

    def __str__(self) -> str:
        return (
            f"{self.number}: {len(self.counts)} shards, {sum(self.counts)} samples, "
            f"batch {self.batch}, lanes {self.lanes}, block {self.block}"
        )

    def order(self, seed: int = 0) -> SetOrder:
        return SetOrder(np.array(self.counts), seed, self.batch, self.lanes, self.block)

    @property
    def draw(self) -> np.random.Generator:
        return np.random.default_rng([1, self.number])

    @property
    def world_sizes(self) -> list[int]:
        return [size for size in WORLD_SIZES if size <= self.lanes]


def draw_counts(draw: np.random.Generator) -> np.ndarray:
    """Sizes of 1 to 500 shards: log-uniform 1 to 5000, one giant among dwarfs, all 1, some 0."""
    num_shards = int(np.exp(draw.uniform(0, np.log(501))))
    counts = np.exp(draw.uniform(0, np.log(5000), num_shards)).astype(int)
    kind = draw.choice(["uneven", "giant", "ones", "empties"], p=[0.7, 0.1, 0.1, 0.1])
    if kind in ("giant", "ones"):
        counts[:] = 1
    if kind == "giant":
        counts[draw.integers(num_shards)] = draw.integers(5000, 100_000)
    if kind == "empties":
        counts[draw.random(num_shards) < 0.5] = 0
        counts[draw.integers(num_shards)] += 1
    return counts


def draw_case(number: int) -> Case:
    """Some samples, and a batch that makes an epoch of 1 to about 30 steps of them."""
    draw = np.random.default_rng([0, number])
    counts = draw_counts(draw)
    lanes = int(min(draw.choice([1, 2, 3, 5, 6, 7, 8, 16, 24, 33, 63, 64]), counts.sum()))
    longest = counts.sum() // lanes
    per_lane = max(1, longest // int(draw.integers(1, 31)))
    block = int(draw.choice([7 if counts.sum() < 20_000 else 32, 64, 1000, 4096]))
    return Case(number, tuple(counts.tolist()), int(lanes * per_lane), lanes, block)


CORNERS = [
    (1001, (1,), 1, 1, 4096),
    (1002, (64,), 64, 64, 1),  # a single step, one sample a lane
    (1003, (127,), 64, 64, 4096),  # all but one of a batch dropped
    (1004, (1,) * 500, 64, 64, 7),
    (1005, (1, 100_000, 1, 1), 4096, 64, 4096),  # the giant fills every lane
    (1006, (0, 0, 30, 30, 0), 6, 6, 5),
    (1007, (5000,) * 20, 67, default_num_lanes(67), 4096),  # a prime batch has one lane
    (1008, (4097,), 2, 2, 4096),  # the last block is one sample
    (1009, (3, 5), 1, 1, 1),
    (1010, (700, 1, 0, 2000, 333), 192, 96, 7),
    (1011, (128,), 128, 128, 1),
    (1012, (5000,) * 5, 2048, 128, 64),
    (1013, (1, 30_000, 1), 2304, default_num_lanes(2304, 96), 1000),
]
CASES = [Case(*corner) for corner in CORNERS] + [draw_case(number) for number in range(NUM_CASES)]
# Where a shuffle can be told from none: enough samples in a block, and a few of them in a batch.
SHUFFLED = [c for c in CASES if c.block >= 64 and sum(c.counts) >= 1000 and c.batch // c.lanes > 1]
every_case = pytest.mark.parametrize("case", CASES, ids=str, scope="module")
shuffled_case = pytest.mark.parametrize("case", SHUFFLED, ids=str, scope="module")


@lru_cache(maxsize=4)
def global_batches(case: Case, epoch: int, seed: int = 0) -> np.ndarray:
    """One epoch, (steps, batch)."""
    order = case.order(seed)
    opened = order.opened(epoch)
    return np.stack([opened.samples(step) for step in range(order.steps_per_epoch)])


@every_case
def test_an_epoch_holds_every_sample_at_most_once_and_drops_less_than_a_batch(case):
    num = sum(case.counts)
    for epoch in (0, 1):
        times = np.bincount(global_batches(case, epoch).ravel(), minlength=num)
        assert times.max() == 1
        assert len(times) == num
        assert (times == 0).sum() == num % case.batch


@every_case
def test_the_shares_of_all_ranks_end_to_end_are_the_global_batch_on_every_layout(case):
    order, steps = case.order(), case.order().steps_per_epoch
    chosen = sorted({0, steps - 1, int(case.draw.integers(steps))})
    opened = order.opened(0)
    for world_size in case.world_sizes:
        ranks = range(world_size)
        for step in chosen:
            shares = [opened.samples(step, rank, world_size) for rank in ranks]
            assert (np.concatenate(shares) == global_batches(case, 0)[step]).all()
            assert [len(share) for share in shares] == [
                order.share_size(rank, world_size) for rank in ranks
            ]


@every_case
def test_accumulation_cuts_a_share_and_changes_nothing_of_it(case):
    order = case.order()
    micro = int(case.draw.integers(1, case.batch + 2))
    for world_size in case.world_sizes:
        num = order.num_micro_batches(micro, world_size)
        for rank in range(world_size):
            size = order.share_size(rank, world_size)
            bounds = micro_batch_bounds(size, num)
            starts, stops = zip(*bounds, strict=True)
            assert (len(bounds), starts[0], stops[-1]) == (num, 0, size)
            assert starts[1:] == stops[:-1]
            assert 0 < stops[-1] - starts[-1] <= micro
            assert all(0 <= stop - start <= micro for start, stop in bounds)


@every_case
def test_starting_at_any_step_gives_the_tail(case):
    order, draw = case.order(), case.draw
    steps = order.steps_per_epoch
    world_size = int(draw.choice(case.world_sizes))
    rank = int(draw.integers(world_size))
    stop = steps + 1 + int(draw.integers(steps))  # into the second epoch
    sizes = [order.share_size(each, world_size) for each in range(rank + 1)]
    mine = slice(sum(sizes[:-1]), sum(sizes))
    for start in {0, steps - 1, steps, stop, int(draw.integers(stop))}:
        tail = Shares(order, rank, world_size, start, stop)
        shares = list(tail)
        assert len(tail) == len(shares) == stop - start
        for step, found in enumerate(shares, start):
            epoch, within = divmod(step, steps)
            assert found.epoch == epoch
            assert (found.index == global_batches(case, epoch)[within][mine]).all()


@every_case
def test_a_step_drawn_alone_is_the_one_of_the_walk(case):
    """So it is the same whichever loader worker, of however many, is given the step."""
    order, draw = case.order(), case.draw
    world_size = int(draw.choice(case.world_sizes))
    rank = int(draw.integers(world_size))
    walk = list(Shares(order, rank, world_size, 0, order.steps_per_epoch + 1))
    for step in draw.integers(len(walk), size=3):
        (alone,) = Shares(order, rank, world_size, int(step), int(step) + 1)
        assert alone.epoch == walk[step].epoch
        assert (alone.index == walk[step].index).all()


@shuffled_case
def test_epochs_and_seeds_have_orders_of_their_own(case):
    first = global_batches(case, 0)
    for other in (global_batches(case, 1), global_batches(case, 0, seed=1)):
        assert (first == other).mean() < 0.05


@shuffled_case
def test_neighbours_of_an_epoch_are_not_neighbours_of_a_shard(case):
    per_lane = case.batch // case.lanes
    lanes = global_batches(case, 0).reshape(-1, case.lanes, per_lane)
    adjacent = (abs(np.diff(lanes, axis=2)) == 1).mean()
    lane_length = len(lanes) * per_lane
    assert adjacent < 0.02 + 4 / min(case.block, lane_length)
