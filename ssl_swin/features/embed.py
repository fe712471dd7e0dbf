"""`ssl-swin embed`: the features of images in a file, for everything else."""

from pathlib import Path
from typing import Any

import numpy as np

from ssl_swin.data.batches.labels import all_labels
from ssl_swin.data.labelling.attach import Asked
from ssl_swin.data.shards.classes import names_of
from ssl_swin.data.shards.reader import ShardReader, content_of
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.evaluation.classify import Computing
from ssl_swin.evaluation.evaluate import open_with_labels
from ssl_swin.evaluation.stopping import stops_at_once
from ssl_swin.features.extract import STOPPED, extract
from ssl_swin.features.feature_file import FeatureTable, check_output, write_features
from ssl_swin.features.layers import LAST
from ssl_swin.features.ranks import Ranks
from ssl_swin.features.store import Features
from ssl_swin.features.subjects import Subject, find_subject
from ssl_swin.phases import say_nothing, tell


def embed(
    what: str,
    *,
    data: str,
    output: Path,
    computing: Computing,
    layer: str = LAST,
    img_size: int | None = None,
    seed: int = 0,
    label_field: str = "label",
    labels: str | None = None,
    devices: int = 1,  # noqa: ARG001  # `__main__` has started them
    cache_dir: Path | None = None,
) -> None:
    """Write the features of images by a frozen network, one vector each, to a file.

    The same command goes on where it was stopped; srun and torchrun may start several processes.

    Args:
        what: A run folder, ended or not; a file with an encoder or a classifier, also of timm or
            the official code; timm:NAME or timm:NAME:FILE, any model of timm; or random:WHAT, one
            of these with random weights.
        data: The shards: a folder, a tar, a pattern in quotes, or a URL.
        output: A name ending in .parquet (columns key, label, class, features), or in .npy (with a
            .json beside it that names the rows).
        computing: How.
        layer: last (mean after the last norm), pooled (as it pools by itself), stage1 and so on, or
            the name of a module.
        img_size: Height and width of images in pixels, if not those of the weights.
        seed: Of random weights.
        label_field: Field of .json that holds the class, as `data.label_field`.
        labels: CSV or Parquet of keys and labels, for shards without labels, as `data.labels`.
        devices: Processes on this machine, each with a GPU of its own if there are so many.
        cache_dir: Root of the cache of features and of remote shards; left out, the user's.

    Raises:
        UserError: If something named is not there, or the output is another's.
        ShardError or OSError: If the storage or another process fails, or a shard was changed.
    """
    with stops_at_once(lambda: STOPPED):
        is_first = not Ranks.of().rank
        asked, say = Asked(field=label_field, file=labels), tell if is_first else say_nothing
        shards = open_with_labels(data, asked, cache_dir, say)
        subject = find_subject(what, seed=seed, img_size=img_size)
        check_output(output, origin := _origin(subject, shards, layer, computing))
        found = extract(subject, shards, computing, layer, cache_dir)
        if is_first:
            write_features(output, _table(found, shards, label_field), origin)
            _tell(output, found, layer, subject)


def _tell(output: Path, found: Features, layer: str, subject: Subject) -> None:
    num, dim = found.values.shape
    print(f"{output}: {num:,} images, {dim} features each, layer {layer}")
    print(f"they are of {subject.told}")


def _origin(subject: Subject, shards: ShardSet, layer: str, computing: Computing) -> dict[str, Any]:
    """Say what features depend on, and how it was named."""
    return {
        "what": subject.what,
        "network": subject.fingerprint,
        "layer": layer,
        "flip": computing.flip,
        "data": content_of(shards),
    }


def _table(found: Features, shards: ShardSet, label_field: str) -> FeatureTable:
    """Put keys and labels beside features."""
    reader, sample = ShardReader(shards), range(shards.num_samples)
    places = zip(*(part.tolist() for part in shards.locate(np.array(sample))), strict=True)
    keys = [reader.key(shard, row) for shard, row in places]
    label = all_labels(shards, label_field)
    labels = [None if one < 0 else one for one in label.tolist()] if label.max() >= 0 else None
    return FeatureTable(keys, labels, names_of(shards) if labels else None, found)
