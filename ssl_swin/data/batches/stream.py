"""The map-style dataset: a share, as places in the shard set -> one batch of pixels."""

import operator
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from os import PathLike

import numpy as np
import torch
from torch.utils.data import Dataset

from ssl_swin.data.batches.batch import Batch, empty
from ssl_swin.data.batches.labels import Labels
from ssl_swin.data.batches.targets import Targets
from ssl_swin.data.open import open_shards
from ssl_swin.data.order.lanes import Share
from ssl_swin.data.pixels.decode import MODES, USUAL, Reading, UnreadableImage, sides
from ssl_swin.data.pixels.render import EncodedSample, Renderer
from ssl_swin.data.pixels.transforms import EvaluationTransform, Transform
from ssl_swin.data.shards.classes import Names, names_of
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import ShardError, UserError

# Samples whose bytes are read and whose crops are drawn in one go. Decoding sweeps the processor's
# caches: between two decodes, headers and crops take 0.16 ms instead of 0.06 ms.
PREPARED_TOGETHER = 16
Found = tuple[int, int]  # shard and row of a sample


class ImageStream(Dataset):
    """Images of a shard set by place, decoded, transformed and stacked.

    Example::

        stream = ssl_swin.ImageStream("shards/mine", img_size=192)
        stream[0]["image"]  # uint8 (3, 192, 192)
        DataLoader(stream, batch_size=32)  # torch's own; `make_loader` knows of epochs and ranks

    A batch holds
        `image` (batch, in_chans, *img_size), uint8, or of bands what `reading` says;
        `index` int64 (batch,), the place of the sample that was read;
        `epoch` int64 (batch,), the pass over its set that it belongs to, counted from 0;
        `replaced` int64 (batch,), the place of the unreadable sample it stands in for, else -1;
        `label` int64 (batch,), if labels are asked for; of `Targets` float64 (batch, num);
        `erased` int64 (batch, 4), what the transform erases of each image, if it erases.
    """

    def __init__(
        self,
        shards: ShardSet | str | PathLike[str],
        transform: Transform | None = None,
        img_size: int | tuple[int, int] | None = None,
        in_chans: int = 3,
        labels: Labels | Targets | bool | None = None,
        reading: Reading = USUAL,
    ) -> None:
        """Open shards, as `open_shards` does if they are not open.

        Args:
            shards: A shard set, or a pattern: a folder, a tar, `train-{000000..000009}.tar`, a
                glob, or a URL of these.
            transform: How images are cut: None is evaluation's centre, `EvaluationTransform`; a
                `TrainTransform` draws crops and flips.
            img_size: Both sides of the result, or (rows, columns), pixels; None is the
                transform's, or 224.
            in_chans: 1 makes images grey, 3 RGB; of bands, as many as there are.
            labels: Whether samples have a `label`, the number of their class: True for those of the
                shards, or which ones.
            reading: How files are decoded.

        Raises:
            ShardError: As `open_shards`.
            UserError: If labels are asked for and samples have none, or `img_size` is not the
                transform's.
        """
        self.shards = open_shards(shards) if isinstance(shards, str | PathLike) else shards
        self.labels = Labels.of(self.shards) if labels is True else (labels or None)
        size = img_size or (224 if transform is None else transform.img_size)
        transform = EvaluationTransform(size) if transform is None else transform
        if size != transform.img_size:
            raise UserError(
                f"img_size={size}, but the transform makes {transform.img_size} pixels; leave "
                "img_size out"
            )
        if in_chans not in MODES and reading.bands is None:
            raise UserError(f"in_chans={in_chans} must be 1 (grey) or 3 (RGB)")
        self.img_size, self.in_chans = size, in_chans
        self.epoch = 0  # of the draws of `stream[i]`; set it before each pass over a loader
        self.renderer = Renderer(transform, in_chans, reading)
        self.reader = ShardReader(self.shards)
        # Stand-ins from other shards: a remote one is not fetched whole for them.
        self._pieces = ShardReader(self.shards, whole=False)
        self._unreadable: set[int] = set()  # shards that this process has looked through in vain

    @property
    def classes(self) -> Names | None:
        """The names of the classes, by number; None without `classes.json` beside the tars."""
        return names_of(self.shards)

    def one_by_one(self) -> "ImageStream":
        """Return it, reading of remote tars no more than the images that are asked for: few."""
        self.reader = self._pieces
        return self

    def __len__(self) -> int:
        return self.shards.num_samples

    def __getitem__(self, index: int) -> Batch:
        """Return one sample, its crop drawn for `stream.epoch`; a negative place is from the end.

        Its tensors are those of a batch, without the first axis. If its image is unreadable it is
        the one that stands in for it.

        Raises:
            IndexError: If there is no such place.
            ShardError: As `read`.
        """
        place, num = operator.index(index), len(self)
        if not -num <= place < num:
            raise IndexError(f"sample {place} of {num}")
        return self._samples([place % num])[0]

    def __getitems__(self, share: Share | Sequence[int]) -> Batch | list[Batch]:
        """Read what `torch.utils.data` asks for; errors as `read`.

        What `make_loader` yields is a share, and comes as one batch; any other sampler yields
        places, which come as samples.
        """
        return self.read(share) if isinstance(share, Share) else self._samples(share)

    def _samples(self, places: Sequence[int]) -> list[Batch]:
        batch = self.read(Share(self.epoch, np.asarray(places, np.int64)))
        return [{name: of[n] for name, of in batch.items()} for n in range(len(places))]

    def read(self, share: Share) -> Batch:
        """Read a share as one batch.

        Raises:
            ShardError: If a shard cannot be had or has no readable image, or a label is no class.
        """
        num, transform, size = len(share.index), self.renderer.transform, sides(self.img_size)
        names, labels = ["index", "epoch", "replaced"], self.labels
        shapes: dict[str, tuple] = dict.fromkeys(names, ((num,), torch.int64))
        if labels is not None:
            kind = torch.float64 if isinstance(labels, Targets) else torch.int64
            shapes["label"] = ((num, *labels.shape), kind)
        shapes |= {"erased": ((num, 4), torch.int64)} if transform.erases else {}
        dtype = self.renderer.torch_dtype
        batch = empty(shapes | {"image": ((num, self.in_chans, *size), dtype)})
        arrays = {name: tensor.numpy() for name, tensor in batch.items()}
        index, epoch, replaced, images = (arrays[n] for n in (*names, "image"))
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
                if labels is not None:
                    reader = self.reader if found[0] == shard[place] else self._pieces
                    arrays["label"][place] = labels.read(reader, *found)
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
                if num + step and not self._has_label(first + found):
                    continue  # it cannot stand in for another
                data = reader.read(place, found)
                yield (place, found), self.renderer.prepare(data, epoch, first + found)
            self._unreadable.add(place)
            num += count
        where = self.shards.storage.where(shard)
        raise ShardError(
            f"{where} and its set: none of its {num} images can be decoded; ssl-swin shards verify "
            "says why"
        )

    def _has_label(self, place: int) -> bool:
        given = self.shards.given
        return self.labels is None or given is None or not given.missing[place]

    def _write(self, candidates: Iterator[tuple[Found, EncodedSample]], slot: np.ndarray) -> Found:
        """Write the pixels of the first readable sample, and return where it is."""
        while True:  # `candidates` end with an error
            found, sample = next(candidates)
            with suppress(UnreadableImage):
                self.renderer.write(sample, self.renderer.decode(sample), slot)
                return found
