"""The list of what is packed, `sources.csv`: which key in which shard is which file."""

import csv
import io
import tarfile
from collections.abc import Sequence, Set
from pathlib import Path

from ssl_swin.data.shards.names import printable, sample_key
from ssl_swin.files import replacing
from ssl_swin.shard_tools.assign import KeyedFile
from ssl_swin.shard_tools.pack import Job

SOURCES_NAME = "sources.csv"
_COLUMNS = ("key", "file", "label", "class", "group", "split", "shard")


def write_sources(out: Path, jobs: Sequence[Job], classes: Sequence[str], bad: Set[str]) -> None:
    """Write one row for each image of some packed shards, in the order of the shards.

    Args:
        out: Folder of the list; shards are named from there.
        jobs: The shards.
        classes: Names by number.
        bad: Printable names of the files that could not be read.
    """
    with replacing(out / SOURCES_NAME) as file:
        text = io.TextIOWrapper(file, "utf-8", errors="backslashreplace", newline="")
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(_COLUMNS)
        for job in jobs:
            shard = job.tar.relative_to(out).as_posix()
            split = shard.rpartition("/")[0]
            for key, image in job.files if bad.isdisjoint(_names(job)) else _packed(job):
                name = "" if image.label is None else classes[image.label]
                label = "" if image.label is None else image.label
                rows.writerow([key, image.name, label, name, image.group or "", split, shard])
        text.detach()


def _names(job: Job) -> set[str]:
    return {printable(image.name) for _, image in job.files}


def _packed(job: Job) -> list[KeyedFile]:
    """Return the files that came into a shard; another one may look the same when it is printed."""
    with tarfile.open(job.tar) as tar:
        keys = {sample_key(name)[0] for name in tar.getnames()}
    return [(key, image) for key, image in job.files if key in keys]
