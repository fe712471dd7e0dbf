"""The map-style dataset: a share, as places in the shard set -> one uint8 batch."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain

import numpy as np
import torch
from torch.utils.data import Dataset

from ssl_swin.data.batches.batch import Batch, empty
from ssl_swin.data.batches.labels import Labels
from ssl_swin.data.order.lanes import Share
from ssl_swin.data.pixels.decode import USUAL, Reading, UnreadableImage
from ssl_swin.data.pixels.render import EncodedSample, Renderer
from ssl_swin.data.pixels.transforms import Transform
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import ShardError

# Samples whose bytes are read and whose crops are drawn in one go. Decoding sweeps the processor's
# caches: between two decodes, headers and crops take 0.16 ms instead of 0.06 ms.
PREPARED_TOGETHER = 16
Found = tuple[int, int]  # shard and row of a sample


class ImageStream(Dataset):
    """Images of a shard set by place, decoded, transformed and stacked.

    A batch holds
        `image` uint8 (batch, in_chans, img_size, img_size);
        `index` int64 (batch,), the place of the sample that was read;
        `epoch` int64 (batch,), the pass over its set that it belongs to, counted from 0;
        `replaced` int64 (batch,), the place of the unreadable sample it stands in for, else -1;
        `label` int64 (batch,), if labels are asked for;
        `erased` int64 (batch, 4), what the transform erases of each image, if it erases.
    """

    def __init__(
        self,
        shards: ShardSet,
        transform: Transform,
        img_size: int,
        in_chans: int,
        labels: Labels | None = None,
        reading: Reading = USUAL,
    ) -> None:
        self.shards, self.labels = shards, labels
        self.img_size, self.in_chans = img_size, in_chans
        self.renderer = Renderer(transform, in_chans, reading)
        self.reader = ShardReader(shards)
        # Stand-ins from other shards: a remote one is not fetched whole for them.
        self._pieces = ShardReader(shards, whole=False)
        self._unreadable: set[int] = set()  # shards that this process has looked through in vain

    def __len__(self) -> int:
        return self.shards.num_samples

    def __getitems__(self, share: Share) -> Batch:
        """Read one share; `torch.utils.data` calls this with what the batch sampler yields.

        Raises:
            ShardError: If a shard cannot be had or has no readable image, or a label is no class.
        """
        num, transform, size = len(share.index), self.renderer.transform, (self.img_size,) * 2
        names = ["index", "epoch", "replaced", *(["label"] if self.labels is not None else [])]
        shapes: dict[str, tuple] = dict.fromkeys(names, ((num,), torch.int64))
        shapes |= {"erased": ((num, 4), torch.int64)} if transform.erases else {}
        batch = empty(shapes | {"image": ((num, self.in_chans, *size), torch.uint8)})
        arrays = {name: tensor.numpy() for name, tensor in batch.items()}
        index, epoch, replaced, images = (arrays[n] for n in (*names[:3], "image"))
        epoch[:], replaced[:] = share.epoch, -1
        shard, row = self.shards.locate(share.index)  # (batch,) -> (batch,), (batch,)
        for start in range(0, num, PREPARED_TOGETHER):
            places = range(start, min(start + PREPARED_TOGETHER, num))
            candidates = [self._candidates(*map(int, (shard[i], row[i], epoch[i]))) for i in places]
            first = [next(rest) for rest in candidates]
            for place, sample, rest in zip(places, first, candidates, strict=True):
                found = self._write(chain([sample], rest), images[place])
                index[place] = self.shards.starts[found[0]] + found[1]
                if index[place] != share.index[place]:
                    replaced[place] = share.index[place]
                if self.labels is not None:
                    reader = self.reader if found[0] == shard[place] else self._pieces
                    arrays["label"][place] = self.labels.read(reader, *found)
        if transform.erases:  # in one go, as above; of the samples that were read
            keys = zip(epoch.tolist(), index.tolist(), strict=True)
            arrays["erased"][:] = [transform.erased(size, *key) for key in keys]
        return batch

    def explain(self, index: int) -> tuple[str, str, str]:
        """Return the shard's name, the key, and why the image cannot be decoded, for a report.

        Little is fetched and nothing is waited for long; if the storage fails, that is the reason.
        """
        shard, row = (int(place[0]) for place in self.shards.locate(np.array([index])))
        storage = self.shards.storage.impatient()
        reader, key = ShardReader(replace(self.shards, storage=storage), whole=False), "?"
        try:
            key = reader.key(shard, row)
            self.renderer.decode(self.renderer.prepare(reader.read(shard, row), 0, index))
            reason = "it can be decoded now"
        except (UnreadableImage, ShardError, OSError) as error:
            reason = str(error)
        finally:
            storage.close()
        return storage.paths[shard].name, key, reason

    def _candidates(
        self, shard: int, row: int, epoch: int
    ) -> Iterator[tuple[Found, EncodedSample]]:
        """Yield the sample asked for and where it is, then those that may stand in for it.

        First come those of its shard, from the next one on; if none of them can be decoded, those
        of the other shards of its set, each from the same row on.
        """
        num = 0
        for place in self.shards.from_shard(shard):
            count, first = int(self.shards.counts[place]), int(self.shards.starts[place])
            reader = self.reader if place == shard else self._pieces
            for step in range(count):
                if place in self._unreadable and (place, step) != (shard, 0):
                    break
                found = (row + step) % count
                data = reader.read(place, found)
                yield (place, found), self.renderer.prepare(data, epoch, first + found)
            self._unreadable.add(place)
            num += count
        where = self.shards.storage.where(shard)
        raise ShardError(f"{where} and its set: none of its {num} images can be decoded")

    def _write(self, candidates: Iterator[tuple[Found, EncodedSample]], slot: np.ndarray) -> Found:
        """Write the pixels of the first readable sample, and return where it is."""
        while True:  # `candidates` end with an error
            found, sample = next(candidates)
            with suppress(UnreadableImage):
                self.renderer.write(sample, self.renderer.decode(sample), slot)
                return found
