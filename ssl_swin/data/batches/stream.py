"""The map-style dataset: a draw of sample places -> one uint8 batch, read by byte offset."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from torch.utils.data import Dataset

from ssl_swin.data.batches.batch import Batch, Layout, empty
from ssl_swin.data.order.one_set import Share
from ssl_swin.data.pixels import on_device
from ssl_swin.data.pixels.decode import UnreadableImage
from ssl_swin.data.pixels.render import EncodedSample, Renderer
from ssl_swin.data.pixels.transforms import Transform
from ssl_swin.data.shards.shard_set import ShardReader, ShardSet
from ssl_swin.draw import Purpose, permutation
from ssl_swin.errors import ShardError

# Samples whose bytes are read and whose crops are drawn in one go. Between two decodes, which sweep
# the caches, headers and draws take three times as long: 0.16 instead of 0.06 ms.
PREPARED_TOGETHER = 16


@dataclass(frozen=True)
class Labels:
    """Where labels come from: `.cls` members, or a field of `.json` members."""

    num_classes: int
    field: str = "label"

    def check(self, label: int, where: str) -> int:
        """Return the label.

        Raises:
            ShardError: If it is no class of the model.
        """
        if not 0 <= label < self.num_classes:
            raise ShardError(
                f"{where}: label {label} is not a class of the model, which knows 0 to "
                f"{self.num_classes - 1}; set num_classes or mend the shard"
            )
        return label


class ImageStream(Dataset):
    """Images of a shard set by place, decoded, transformed and stacked.

    Batches hold `image` uint8 (batch, in_chans, img_size, img_size); `index` int64 (batch,), the
    place of the sample that was read; `epoch` int64 (batch,), which pass over its set it belongs
    to, counted from 0; `replaced` int64 (batch,), the place of the unreadable sample
    it stands in for, else -1; and `label` int64 (batch,) if labels are asked for. With the decoder
    "gpu", some images are still to be decoded from what `on_device.pack` adds.
    """

    def __init__(
        self,
        shards: ShardSet,
        transform: Transform,
        img_size: int,
        in_chans: int,
        labels: Labels | None = None,
        decoder: str = "fast",
    ) -> None:
        self.shards, self.labels = shards, labels
        self.img_size, self.in_chans = img_size, in_chans
        self.renderer = Renderer(transform, in_chans, decoder)
        self.reader = ShardReader(shards)

    def __len__(self) -> int:
        return self.shards.num_samples

    def __getitems__(self, draw: Share) -> Batch:
        """Read one draw; `torch.utils.data` calls this with what the batch sampler yields."""
        num = len(draw.index)
        batch = empty(self._layout(num))
        index, epoch, replaced, *labels, images = (tensor.numpy() for tensor in batch.values())
        epoch[:], replaced[:] = draw.epoch, -1
        shard, row = self.shards.locate(draw.index)
        deferred: list[tuple[int, EncodedSample]] = []
        for start in range(0, num, PREPARED_TOGETHER):
            places = range(start, min(start + PREPARED_TOGETHER, num))
            candidates = [self._candidates(*map(int, (shard[i], row[i], epoch[i]))) for i in places]
            first = [next(rest) for rest in candidates]
            for place, (found, sample), rest in zip(places, first, candidates, strict=True):
                if self.renderer.defers(sample):
                    deferred.append((place, sample))
                else:
                    found = self._write(chain([(found, sample)], rest), images[place])
                index[place] = draw.index[place] + (found - row[place])
                if found != row[place]:
                    replaced[place] = draw.index[place]
                if self.labels is not None:
                    labels[0][place] = self._label(int(shard[place]), found)
        if self.renderer.decoder == "gpu":
            batch |= on_device.pack(deferred)
        return batch

    def _layout(self, num: int) -> Layout:
        names = ["index", "epoch", "replaced", *(["label"] if self.labels is not None else [])]
        image = (num, self.in_chans, self.img_size, self.img_size), torch.uint8
        return dict.fromkeys(names, ((num,), torch.int64)) | {"image": image}

    def on_cpu(self) -> "ImageStream":
        """Return a stream of the same images that leaves nothing to the device."""
        renderer = self.renderer
        decoder = "fast" if renderer.decoder == "gpu" else renderer.decoder
        return ImageStream(
            self.shards, renderer.transform, self.img_size, self.in_chans, self.labels, decoder
        )

    def explain(self, index: int) -> tuple[str, str, str]:
        """Return the shard's name, the key, and why the image cannot be decoded, for a report.

        Little is fetched and nothing is waited for long; if the storage fails, that is the reason.
        """
        shard, row = (int(place[0]) for place in self.shards.locate(np.array([index])))
        shards, remote = self.shards, self.shards.remote
        if remote is not None:
            shards = replace(shards, remote=remote.hurried())
        reader, key = ShardReader(shards, whole=False), "?"
        try:
            key = reader.key(shard, row)
            self.renderer.decode(self.renderer.prepare(reader.read(shard, row), 0, index))
            reason = "it can be decoded now"
        except (UnreadableImage, ShardError, OSError) as error:
            reason = str(error)
        finally:
            reader.close()
        return self.shards.paths[shard].name, key, reason

    def _candidates(self, shard: int, row: int, epoch: int) -> Iterator[tuple[int, EncodedSample]]:
        """Yield the sample asked for and its row, then those that may stand in for it."""
        count, first = int(self.shards.counts[shard]), int(self.shards.starts[shard])
        for found in ((row + step) % count for step in range(count)):
            data = self.reader.read(shard, found)
            yield found, self.renderer.prepare(data, epoch, first + found)
        raise ShardError(f"{self.shards.where(shard)}: none of its {count} images can be decoded")

    def _write(self, candidates: Iterator[tuple[int, EncodedSample]], slot: np.ndarray) -> int:
        """Write the pixels of the first readable sample, and return its row."""
        while True:  # `candidates` end with an error
            found, sample = next(candidates)
            try:
                decoded = self.renderer.decode(sample)
            except UnreadableImage:
                continue
            self.renderer.write(sample, decoded, slot)
            return found

    def _label(self, shard: int, row: int) -> int:
        assert self.labels is not None
        label = self.reader.label(shard, row, self.labels.field)
        return self.labels.check(label, f"{self.shards.where(shard)}, sample {row}")


def balanced_subset(shards: ShardSet, labels: Labels, num_labels: int, seed: int) -> np.ndarray:
    """Draw `num_labels` places, as many of each class as possible, sorted; depends on the seed.

    Raises:
        ValueError: If the set has fewer samples of some class than its part.
        ShardError: If a label is missing, or is no class of the model.
    """
    reader = ShardReader(shards)
    shard, row = shards.locate(np.arange(shards.num_samples))
    label = np.array(
        [
            labels.check(reader.label(s, r, labels.field), f"{shards.where(s)}, sample {r}")
            for s, r in zip(shard.tolist(), row.tolist(), strict=True)
        ]
    )
    parts = np.full(labels.num_classes, num_labels // labels.num_classes)
    parts[: num_labels % labels.num_classes] += 1
    chosen = []
    for kind, part in enumerate(parts):
        members = np.flatnonzero(label == kind)
        if len(members) < part:
            raise ValueError(
                f"data.num_labels={num_labels} needs {part} images of class {kind}; the training "
                f"shards hold {len(members)}; ask for fewer labels"
            )
        chosen.append(members[permutation(len(members), Purpose.SUBSET, seed, kind)[:part]])
    return np.sort(np.concatenate(chosen))
