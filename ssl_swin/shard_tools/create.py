"""Makes shards of a folder of images; a shard is whole or not there, so a stopped run can go on.

`split.py` decides which file is in which set and `assign.py` which goes where in it, and the tars
hold no times and no users. So the shards are the same bytes, however often a run is stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ssl_swin.data.shards.index_file import index_beside, read_entry
from ssl_swin.data.shards.left_out import UNREADABLE, leave_out
from ssl_swin.data.shards.manifest import Entry, write_manifest
from ssl_swin.data.shards.names import printable
from ssl_swin.data.shards.one_maker import one_maker
from ssl_swin.errors import UserError, usable
from ssl_swin.files import sha256_of
from ssl_swin.shard_tools.assign import PackOptions, assign, keep_assignment
from ssl_swin.shard_tools.band_names import names_in
from ssl_swin.shard_tools.pack import Job, pack_all
from ssl_swin.shard_tools.parallel import each
from ssl_swin.shard_tools.select import Selection, select
from ssl_swin.shard_tools.source import ImageFile, Source
from ssl_swin.shard_tools.sources_list import write_sources
from ssl_swin.shard_tools.summary import summary, warnings_of
from ssl_swin.signals import as_interrupt

_DEFAULT_BYTES_PER_SHARD = 256 * 2**20
_ALL = Selection()


@dataclass(frozen=True)
class PackedSet:
    """The files of one folder of shards, and the jobs that pack them."""

    name: str
    """As train; empty where there is no other."""
    folder: Path
    files: Sequence[ImageFile]
    options: PackOptions
    jobs: list[Job]


def create(
    source: Path,
    out: Path,
    options: PackOptions,
    num_workers: int = 4,
    max_bad_share: float = 0.01,
    selection: Selection = _ALL,
) -> None:
    """Pack a folder of images into shuffled, indexed shards; run again, it goes on where it was.

    Folders directly in the source are classes, empty ones too, numbered from 0 in the order of
    their names, which classes.json lists; a source without folders is packed without labels. Files
    that are no readable image are named in bad_files.txt. What is left out is counted at the end.
    sources.csv says which key is which file.

    Args:
        source: Folder of images: jpg, png, webp, tif, bmp, gif, ppm, and their other extensions.
        out: Folder for the shards: a new one, or that of a stopped run of the same command.
        options: What decides the bytes of the shards.
        num_workers: Processes, each with one shard at a time, 1 or more.
        max_bad_share: Share of unreadable files, in [0, 1], above which to stop.
        selection: What of the images is packed as what.

    Raises:
        UserError: If an option is out of range, `out` is another's, or a folder cannot be listed.
        ShardError: If the source has no images, other classes, or too much that cannot be read.
    """
    if not 0 <= max_bad_share <= 1:
        raise UserError(f"max_bad_share={max_bad_share} is no share; give 0 to 1")
    with as_interrupt():
        found, sets = select(source, selection, options.seed)
        options = _settled(options, source, found)
        packed = [_planned(source, out, options, name, files) for name, files in sets.items()]
        jobs = [job for one in packed for job in one.jobs]
        with one_maker(out / ".create.lock", partial(_progress, jobs)):  # plans would mix
            with usable(f"out={out}"):
                _keep(out, packed, found, selection)
            for line in [*found.told, *warnings_of(found, source, out, options)]:
                print(line, flush=True)
            max_bad = int(max_bad_share * len(found.files))
            bad, entries = _packed(out, packed, num_workers, max_bad)
            write_sources(out, jobs, found.classes, bad.keys())
            for folder in {out, *(one.folder for one in packed)}:
                for leftover in folder.glob(".*.partial"):  # of runs that were killed
                    leftover.unlink()
    leave_out(found.left_out, UNREADABLE, next(iter(bad), ""), len(bad))
    print("\n".join(summary(found, sets, entries, bad, (source, out))))


def _settled(options: PackOptions, source: Path, found: Source) -> PackOptions:
    """Settle what was left open: the size of shards, and the names of channels by their files."""
    if options.samples_per_shard is None and options.bytes_per_shard is None:
        options = replace(options, bytes_per_shard=_DEFAULT_BYTES_PER_SHARD)
    if options.channel_names is None and (names := names_in(source, found.files)) is not None:
        options = replace(options, channel_names=",".join(names))
        print(f"channels, as the files name them: {printable(', '.join(names))}", flush=True)
    return options


def _keep(out: Path, packed: Sequence[PackedSet], found: Source, selection: Selection) -> None:
    """Write down what decides the shards, or hold it against what a run wrote before."""
    chosen = {"split": selection.split, "dedup": selection.dedup}
    if selection.split is not None:
        seed = {"seed": packed[0].options.seed}
        keep_assignment(out, None, found.files, (), chosen | seed)
        chosen = {}
    for one in packed:
        keep_assignment(one.folder, one.options, one.files, found.classes, chosen)


def _planned(
    source: Path, out: Path, options: PackOptions, name: str, files: Sequence[ImageFile]
) -> PackedSet:
    """Decide which file of a set goes where; the shards of a split are called as their set."""
    if name:
        usual = options.prefix == PackOptions.prefix
        options = replace(options, prefix=name if usual else f"{options.prefix}-{name}")
    shards = assign(files, options)
    jobs = [Job(source, out / name / tar, part, options) for tar, part in shards.items()]
    return PackedSet(name, out / name, files, options, jobs)


def _packed(
    out: Path, packed: Sequence[PackedSet], num_workers: int, max_bad: int
) -> tuple[dict[str, str], dict[str, list[Entry]]]:
    """Pack all sets; return why files are unreadable, by name, and each set's entries."""
    jobs = [job for one in packed for job in one.jobs]
    try:
        bad = pack_all(out, jobs, num_workers, max_bad)
        return bad, {one.name: _finished(one, num_workers) for one in packed}
    except KeyboardInterrupt:
        how = f"stopped: {_progress(jobs)}; the same command goes on from there"
        raise KeyboardInterrupt(how) from None


def _finished(packed: PackedSet, num_workers: int) -> list[Entry]:
    """Write the manifest of a set whose shards are all there, and return its entries."""
    entries = {}
    for path, digest in each(sha256_of, [job.tar for job in packed.jobs], num_workers):
        entries[path.name] = read_entry(index_beside(path))._replace(sha256=digest)
    write_manifest(packed.folder, entries)
    return [*entries.values()]


def _progress(jobs: Sequence[Job]) -> str:
    """Say how far another process is."""
    return f"{sum(job.tar.exists() for job in jobs)} of {len(jobs)} shards are packed"
