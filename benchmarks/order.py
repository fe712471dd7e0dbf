"""What the order does to disks and batches: mixing, opens, jumps; seconds at a billion samples.

Orders are arithmetic, so little is read. The large set on disk has 100,000 tars of 10,000 samples
that are holes, named in one index.json, with real indexes where they are looked into. The small one
has tars of 1,000, and is read as one of 8 loader processes of a rank reads it.
"""

import argparse
import json
import resource
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ssl_swin.data.need import Needs
from ssl_swin.data.open import open_shards
from ssl_swin.data.order.one_set import EpochOrder, SetOrder
from ssl_swin.data.order.shares import Shares
from ssl_swin.data.shards.index_file import SAMPLE_DTYPE, end_row, index_beside
from ssl_swin.data.shards.manifest import MANIFEST_NAME
from ssl_swin.data.shards.reader import ShardReader

SHARD_SAMPLES, SMALL_SHARD_SAMPLES = 10_000, 1_000
NUM_WORKERS = 8  # of a rank, of which one reads
NUM_INDEXED = 20  # shards of the set on disk whose indexes are looked into
PAYLOAD_BYTES = 512  # of each sample of the set on disk, in the index and as a hole


def mixing(epoch: EpochOrder, steps: np.ndarray) -> list[str]:
    """How often a global batch holds two samples of one shard, and two neighbours of a shard."""
    order, same, neighbours, shards = epoch.order, [], [], []
    for step in steps:
        batch = epoch.samples(int(step))
        shard = batch // SHARD_SAMPLES
        same.append((shard[1:] == shard[:-1]).mean())
        neighbours.append((np.diff(np.sort(batch)) == 1).mean())
        shards.append(len(np.unique(shard)))
    lanes, per_lane = order.num_lanes, order.global_batch_size // order.num_lanes
    adjacent = abs(np.diff(np.stack([epoch.samples(int(s)) for s in steps]).reshape(-1, per_lane)))
    return [
        f"global batch of {order.global_batch_size} in {lanes} lanes, {len(steps)} batches:",
        f"- consecutive pairs of one shard: {np.mean(same):.4f}",
        f"- consecutive pairs that are neighbours in their shard: {(adjacent == 1).mean():.5f}",
        f"- samples whose next one in the shard is in the same batch: {np.mean(neighbours):.5f}",
        f"- shards in a batch: {np.min(shards)} to {np.max(shards)}, mean {np.mean(shards):.1f}",
    ]


def reading(epoch: EpochOrder, world_size: int, first: int, num_steps: int) -> str:
    """One row of the table: what one rank, in the middle, touches in so many steps."""
    rank = world_size // 2
    steps = range(first, first + num_steps)
    shares = np.stack([epoch.samples(step, rank, world_size) for step in steps])
    shard = shares // SHARD_SAMPLES
    at_once = [len(np.unique(shard[step : step + 10])) for step in range(0, num_steps, 10)]
    by_shard = np.argsort(shard.ravel(), kind="stable")  # each shard's reads, in reading order
    ids, owner = shares.ravel()[by_shard], shard.ravel()[by_shard]
    jumps = np.diff(ids)[owner[1:] == owner[:-1]]
    low, middle, high = np.percentile(abs(jumps), (5, 50, 95))
    return (
        f"| {world_size} | {shares.shape[1]} | {len(np.unique(shard))} | {np.mean(at_once):.1f} | "
        f"{max(at_once)} | {low:.0f} / {middle:.0f} / {high:.0f} | {(jumps == 1).mean():.5f} |"
    )


def opening(folder: str, world_size: int, batch: int, block: int) -> str:
    """One row of the table: what a loader process of a rank opens in two blocks of its lanes."""
    shards, rank = open_shards(folder), world_size // 2
    order = SetOrder(shards.counts, 0, batch, 64, block)
    stop = min(3 * block // order.per_lane, order.steps_per_epoch)
    steps = range(stop // 3, stop, NUM_WORKERS)
    shards.storage.keep_open(Needs(shards, order, rank, world_size, stop).most_at_once())
    reader, num = ShardReader(shards), 0
    opened.clear()
    began = time.perf_counter()
    for step in steps:
        for place in zip(*shards.locate(order.share(step, rank, world_size).index), strict=True):
            reader.read(*map(int, place))
            num += 1
    ms = 1e3 * (time.perf_counter() - began) / num
    tars, indexes = (f"{100 * opened[kind] / num:.1f}" for kind in (".tar", ".npy"))
    return f"| {world_size} | {batch} | {num} | {tars} | {indexes} | {ms:.3f} |"


opened: Counter[str] = Counter()  # files by the end of their name


def count_opens() -> None:
    def heard(event: str, about: tuple) -> None:
        if event == "open":
            opened[Path(str(about[0])).suffix] += 1

    sys.addaudithook(heard)


def opens(num_shards: int, block: int) -> list[str]:
    """The table of what is opened, for a set of small shards and few ranks."""
    lines = [
        f"One of {NUM_WORKERS} loader processes of a rank, two blocks of {block}; {num_shards} "
        f"shards of {SMALL_SHARD_SAMPLES}; opened for 100 samples\n",
        "| ranks | global batch | samples read | tars | indexes | ms a sample |",
        "|---|---|---|---|---|---|",
    ]
    count_opens()
    with tempfile.TemporaryDirectory() as folder:
        make_set(Path(folder), num_shards, list(range(num_shards)), SMALL_SHARD_SAMPLES)
        batches = (2048, 256)
        rows = [opening(folder, ranks, b, block) for b in batches for ranks in (1, 2, 4, 8)]
    return [*lines, *rows, ""]


def make_set(folder: Path, num_shards: int, indexed: list[int], samples: int) -> None:
    """Write the names of the tars, their index.json, and the indexes of some."""
    rows = np.zeros(samples + 1, SAMPLE_DTYPE)
    rows["header"] = np.arange(samples + 1) * (512 + PAYLOAD_BYTES)
    rows["offset"][:-1] = rows["header"][:-1] + 512
    rows["size"][:-1] = PAYLOAD_BYTES
    num_bytes = samples * (512 + PAYLOAD_BYTES) + 1024
    rows[-1:] = end_row(rows[:-1], num_bytes)
    info = tarfile.TarInfo("x.jpg")
    info.size = PAYLOAD_BYTES
    names = [f"train-{shard:06d}.tar" for shard in range(num_shards)]
    for shard, name in enumerate(names):
        with (folder / name).open("wb") as file:
            file.truncate(num_bytes)
            if shard in indexed:
                np.save(index_beside(folder / name), rows)
                for row in (0, -2):
                    file.seek(rows["header"][row])
                    file.write(info.tobuf())
    sizes = {name: [samples, int(num_bytes)] for name in names}
    (folder / MANIFEST_NAME).write_text(json.dumps({"format": 1, "shards": sizes}))


def seconds(what: str, action: Callable[[], object]) -> str:
    began = time.perf_counter()
    action()
    return f"- {what}: {time.perf_counter() - began:.3f} s"


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def billion(num_shards: int, batch: int) -> list[str]:
    """Open an epoch and go on at drawn places, from a set on disk."""
    indexed = np.random.default_rng(0).choice(num_shards, NUM_INDEXED, replace=False).tolist()
    lines, start_mib = [], peak_mib()
    with tempfile.TemporaryDirectory() as name:
        make_set(Path(name), num_shards, indexed, SHARD_SAMPLES)
        before, found = peak_mib(), []
        lines.append(seconds("the set opens", lambda: found.append(open_shards(name))))
        (shards,) = found
        order = SetOrder(shards.counts, 0, batch, 64)
        lines.append(seconds("the fingerprint", shards.fingerprint))
        lines.append(seconds("an epoch opens", lambda: EpochOrder(order, 1)))
        total = 100 * order.steps_per_epoch
        for step in np.random.default_rng(1).integers(total, size=5).tolist():
            shares = Shares(order, 5, 8, step, total)
            text = f"the first batch of rank 5 of 8 from step {step:,} on"
            lines.append(seconds(text, lambda s=shares: shards.locate(next(iter(s)).index)))
        lines.append(
            seconds(
                f"{len(indexed)} indexes are mapped and checked",
                lambda: [shards.storage.rows(shard) for shard in indexed],
            )
        )
        lines.append(
            f"- peak memory {peak_mib():.0f} MiB; {start_mib:.0f} MiB at the start, "
            f"{before:.0f} MiB once the set was written"
        )
        head = f"{shards.num_samples:,} samples in {len(shards.counts):,} shards, batch {batch}:"
    return [head, *lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=2048, help="samples of a global batch")
    parser.add_argument("--block", type=int, default=4096, help="samples shuffled together")
    parser.add_argument("--shards", type=int, default=1000, help="of 10,000 samples each")
    parser.add_argument("--on-disk", type=int, default=100_000, help="shards of the set on disk")
    parser.add_argument("--small", type=int, default=640, help="shards of 1,000 that are read")
    options = parser.parse_args(sys.argv[1:])
    if options.on_disk < NUM_INDEXED:
        parser.error(f"--on-disk must be {NUM_INDEXED} or more: so many shards are looked into")
    print("\n".join(billion(options.on_disk, options.batch)), "\n", sep="\n")
    counts = np.full(options.shards, SHARD_SAMPLES)
    epoch = SetOrder(counts, 0, options.batch, 64, options.block).opened(0)
    steps = np.linspace(0, epoch.order.steps_per_epoch - 1, 100).astype(int)
    print("\n".join(mixing(epoch, steps)))
    middle = epoch.order.steps_per_epoch // 2
    num_steps = min(1000, middle)  # an epoch of few shards has no more
    print(
        f"\nA rank's reads in {num_steps} steps; {options.shards} shards, block {options.block}\n"
    )
    print(
        "| ranks | samples a step | shards | in 10 steps, mean | most | jump, rows 5/50/95 % | +1 |"
    )
    print("|---|---|---|---|---|---|---|")
    for world_size in (1, 8, 64):
        print(reading(epoch, world_size, middle, num_steps))
    print("", *opens(options.small, options.block), sep="\n")


if __name__ == "__main__":
    main()
