"""Labels in tars that are no numbers of classes: names, lists, numbers; of all sets of a run."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from ssl_swin.data.batches.labels import all_labels, usable_labels
from ssl_swin.data.labelling.values import UnusableLabel, Values
from ssl_swin.data.shards.classes import CLASSES_NAME, Names
from ssl_swin.data.shards.given import SINGLE, UNUSABLE, GivenLabels
from ssl_swin.data.shards.index_file import CLS_LABEL, NO_LABEL
from ssl_swin.data.shards.label_file import LONGEST_CLS, LONGEST_JSON
from ssl_swin.data.shards.names import printable
from ssl_swin.data.shards.reader import ShardReader, better_whole
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import ShardError

_NUM_THREADS = 8
_MOST_TOLD = 5


def have_names(shards: ShardSet, field: str) -> bool:
    """Whether a set's labels are names, all of them: where some are numbers, the names are odd.

    Of a remote set whose labels take too many requests it is not known, and numbers are taken.
    """
    if usable_labels(shards, field) is None:
        return False
    label = all_labels(shards, field)
    return bool((label == UNUSABLE).any()) and not (label >= 0).any()


def labels_of_tars(
    sets: Mapping[str, ShardSet], field: str, task: str, known: Names | None
) -> tuple[dict[str, GivenLabels], list[str]]:
    """Return the labels of each of some sets, by where they are, and what is to be said of them.

    None of them, if they should be names of classes and are numbers that are none, as 0.5.

    Their classes are the same: those that are `known`, or all that occur, in the order of their
    names.

    Raises:
        ShardError: If a label is none of the task, or no class that is known.
        RemoteError or OSError: If the storage fails.
    """
    values, stops = Values(task), [0]
    for where, one in sets.items():
        for place, text in enumerate(_texts(one)):
            try:
                values.add(_value(*text, field))
            except UnusableLabel as error:
                shard, row = (int(at[0]) for at in one.locate(np.array([place])))
                key = printable(ShardReader(one, whole=False).key(shard, row))
                raise ShardError(
                    f"sample {key!r} of {one.storage.where(shard)} has no label of the task "
                    f"{task}: {error}; mend it, or leave it out of {where}"
                ) from None
        stops.append(len(values))
    if task == SINGLE and all(map(_is_number, values.texts)):
        return {}, []  # they are no names; whoever wants classes says what is wrong with them
    labels, said = values.finish(known, " and ".join(sets))
    if known is None and labels.names:
        more = ", ..." if len(labels.names) > _MOST_TOLD else ""
        said.append(
            f"no {CLASSES_NAME} beside {' or '.join(sets)}: the classes are the names of their "
            f"labels, sorted: {', '.join(labels.names[:_MOST_TOLD])}{more}"
        )
    found = {}
    for where, start, stop in zip(sets, stops, stops[1:], strict=False):
        found[where] = labels.taken(np.arange(start, stop))
        if missing := int(found[where].missing.sum()):
            said.append(f"{where}: {missing:,} of {stop - start:,} images have no label")
    return found, said


def _texts(shards: ShardSet) -> Iterator[tuple[int, bytes]]:
    """Yield kind and content of each sample's label member, in the order of the set."""
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        parts = pool.map(partial(_of_shard, shards), range(len(shards.counts)))
        yield from chain.from_iterable(parts)


def _of_shard(shards: ShardSet, shard: int) -> Sequence[tuple[int, bytes]]:
    here = shards.storage.request_bytes is None
    reader = ShardReader(shards, whole=here or better_whole(shards))
    return [reader.label_text(shard, row) for row in range(int(shards.counts[shard]))]


def _value(kind: int, content: bytes, field: str) -> Any:
    """Return what a label member says; None if there is none, or the field is not in it."""
    if kind == NO_LABEL:
        return None
    longest = LONGEST_CLS if kind == CLS_LABEL else LONGEST_JSON
    if len(content) > longest:
        raise UnusableLabel(f"it has more than {longest:,} bytes")
    try:
        if kind == CLS_LABEL:
            return content.decode("utf-8-sig")
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise UnusableLabel(f"{content[:60]!r} cannot be read") from None
    if not isinstance(found, dict):
        raise UnusableLabel("its .json is no object with fields")
    return found.get(field)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
