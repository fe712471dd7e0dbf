"""Images -> features of a frozen network, by any number of processes, once and for all.

Which images are computed together depends on the batch size and on nothing else: so features are
the same on any number of processes, and after any number of stops.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ssl_swin.data.batches.loader import loader
from ssl_swin.data.counting import counting
from ssl_swin.data.order.lanes import Share
from ssl_swin.data.pixels.decode import sides
from ssl_swin.data.shards.reader import content_of
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.evaluation.classify import Computing, find_device, naming_short_memory
from ssl_swin.evaluation.images import Samples
from ssl_swin.evaluation.pixels import PixelStream, reading_by
from ssl_swin.features.layers import LAST, LayerFeatures
from ssl_swin.features.ranks import Beats, Ranks
from ssl_swin.features.store import Features, Store, features_folder
from ssl_swin.features.subjects import Subject
from ssl_swin.models.normalise import Normalisation
from ssl_swin.phases import tell

STOPPED = "features that are computed are kept; the same command goes on"
"""For `stops_at_once`, while features are extracted."""
_FORMAT = "2"  # of what the cache holds; another number wherever features come out otherwise


def extract(
    subject: Subject,
    shards: ShardSet,
    computing: Computing,
    layer: str = LAST,
    cache_dir: Path | None = None,
    say: Callable[[str], None] = tell,
) -> Features:
    """Return the features of all images, in their order; what is in the cache is not done again.

    Of several processes that a launcher started each computes a part, and each returns all.

    Args:
        subject: The network, and what images have to be for it.
        shards: The images, one or more.
        computing: How.
        layer: As of `LayerFeatures`.
        cache_dir: Root of the cache; left out, the user's.
        say: Is told in a line what was done, in the first process.

    Raises:
        UserError: If there is no such layer or device, or no image can be decoded.
        MachineError: If the memory of a GPU is too small, or another process is gone.
        ShardError, RemoteError or OSError: If the storage fails, or a shard was changed.
    """
    images, content = Samples(shards), content_of(shards)
    known = [_FORMAT, subject.fingerprint, layer, str(computing.flip), content]
    if subject.channel_names is not None:  # which may be elsewhere after somebody names them anew
        known.append(str(reading_by(subject, images).bands))
    store, ranks = Store(features_folder(known, cache_dir), len(images)), Ranks.of()
    told = f"{subject.name}: features of {len(images):,} images"
    if store.is_whole():
        found, how = store.open(), "are in the cache"
    else:
        network, stream = network_at(subject, layer), PixelStream(images, subject)
        threads = torch.get_num_threads()
        try:
            work = _Work(store, network, stream, _for_rank(computing, len(images), ranks), ranks)
            rate = work.fill(f"features of {subject.name}", _facts(subject, layer, shards))
        finally:
            torch.set_num_threads(threads)
            network.cpu()  # another one needs the memory of a GPU
        found, how = store.open(), f"at {rate:,.0f} images/s"
    if not found.good.any():
        PixelStream(images, subject).refuse()
    if not ranks.rank:
        num = found.num_broken
        say(f"{told} {how}" + (f"; {num:,} are broken and have none" if num else ""))
    return found


def network_at(subject: Subject, layer: str) -> nn.Module:
    """Return the way from pixels, as they are stored, to the features of a layer.

    Raises:
        UserError: If there is no such layer.
    """
    shape = len(subject.mean), *sides(subject.img_size)
    return nn.Sequential(
        Normalisation.of(subject), LayerFeatures(subject.network, layer, shape)
    ).eval()


def _facts(subject: Subject, layer: str, shards: ShardSet) -> dict[str, Any]:
    """Say, for people, what lies in a folder of the cache."""
    return {
        "what": subject.what,
        "network": subject.fingerprint,
        "layer": layer,
        "num_images": shards.num_samples,
        "images": content_of(shards),
    }


def _for_rank(computing: Computing, num_images: int, ranks: Ranks) -> Computing:
    """Share out a machine's cores and GPUs among the processes on it."""
    device, num_gpus = find_device(computing.device), torch.cuda.device_count()
    name = f"cuda:{ranks.local_rank % num_gpus}" if str(device) == "cuda" else computing.device
    computing = replace(computing, device=name)
    if ranks.local_world_size == 1:  # as under SLURM, which shares out the cores itself
        return computing
    torch.set_num_threads(min(torch.get_num_threads(), ranks.cores))
    workers = computing.workers_for(num_images)
    if computing.num_workers is None:
        workers = min(workers, ranks.cores)
    return replace(computing, num_workers=workers)


@dataclass(frozen=True)
class _Work:
    """What this process does so that a store gets its features."""

    store: Store
    network: nn.Module  # images as they are stored -> features
    stream: PixelStream
    computing: Computing
    ranks: Ranks

    def fill(self, what: str, facts: dict[str, Any]) -> float:
        """Compute a part, wait for the others, make one array; return images per second."""
        store, world_size = self.store, self.ranks.world_size
        store.folder.mkdir(parents=True, exist_ok=True)
        with Beats(store.folder, self.ranks).beating() as beats:
            if self.ranks.rank:
                self._compute(lambda _: None)
                beats.wait(store.is_whole, lambda: {0})
                return 0.0
            with counting(what, store.num_images, store.num_done()) as count:

                def all_done() -> bool:
                    others = store.num_done() - count.done
                    count(max(0, others))
                    return not store.missing()

                self._compute(count)
                beats.wait(all_done, lambda: {block % world_size for block in store.missing()})
                store.assemble(facts)
                return count.rate

    def _compute(self, count: Callable[[int], None]) -> None:
        """Compute the blocks of this process that are not there yet."""
        mine = [
            one for one in self.store.missing() if one % self.ranks.world_size == self.ranks.rank
        ]
        batches = self._batches(mine)
        for block in mine:
            start, stop = self.store.bounds(block)
            values, good = [], np.zeros(0, bool)
            while len(good) < stop - start:
                vectors, broken = next(batches)
                values.append(vectors)
                good = np.concatenate([good, ~broken])
                count(len(broken))
            block_values = np.concatenate(values)
            block_values[~good] = np.nan
            self.store.write(block, block_values, good)

    def _batches(self, blocks: Sequence[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield float32 (batch, num_features), and which images are broken, of blocks in order."""
        size, shares = self.computing.batch_size, []
        for start, stop in map(self.store.bounds, blocks):
            firsts = range(start, stop, size)
            shares += [Share(0, np.arange(first, min(first + size, stop))) for first in firsts]
        device = find_device(self.computing.device)
        network = self.network.to(device)
        for batch in loader(self.stream, shares, self.computing.workers_for(len(self.stream))):
            with naming_short_memory(device, size), torch.inference_mode():
                images = batch["image"].to(device, non_blocking=True)
                vectors = network(images)
                if self.computing.flip:
                    vectors = (vectors + network(images.flip(-1))) / 2
            yield vectors.float().cpu().numpy(), batch["broken"].numpy()
