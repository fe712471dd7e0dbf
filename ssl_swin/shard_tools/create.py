"""Makes shards of a folder of images; a shard is whole or not there, so a stopped run can go on.

`assign.py` decides which file goes where, and the tars hold no times and no users. So the shards
are the same bytes, however often a run is stopped.
"""

import io
import os
import shlex
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path

from PIL import Image
from rich.progress import Progress

from ssl_swin.data.open import open_shards
from ssl_swin.data.pixels.decode import MAX_PIXELS, Reading, UnreadableImage, upright
from ssl_swin.data.pixels.depths import depth_warning
from ssl_swin.data.pixels.formats import by_extension, decode, has_several, open_image
from ssl_swin.data.shards.classes import CLASSES_NAME, Names, alike, names_of
from ssl_swin.data.shards.index_file import add_notes, index_beside, read_entry
from ssl_swin.data.shards.indexing import index_shard
from ssl_swin.data.shards.left_out import PAGES, UNREADABLE, LeftOut, add_up, describe, leave_out
from ssl_swin.data.shards.manifest import Entry, write_manifest
from ssl_swin.data.shards.names import printable
from ssl_swin.data.shards.one_maker import one_maker
from ssl_swin.errors import ShardError, UserError, usable
from ssl_swin.files import replacing, sha256_of
from ssl_swin.shard_tools.assign import KeyedFile, PackOptions, assign, keep_assignment
from ssl_swin.shard_tools.parallel import each
from ssl_swin.shard_tools.source import ImageFile, Source, list_images

BAD_NAME = "bad_files.txt"
_DEFAULT_BYTES_PER_SHARD = 256 * 2**20
_DEFAULT_QUALITY = 90
_NUM_LOOKED_AT = 250  # files whose range of numbers is looked at
_MOST_NAMED = 10  # classes of the line at the end
_USUAL = {"jfif": "jpg", "jpe": "jpg", "apng": "png"}  # names that other readers of tars know
_PNG_MODES = frozenset({"L", "LA", "RGB", "RGBA", "I;16"})  # that PNG keeps and Pillow can scale


@dataclass(frozen=True)
class Job:
    """One shard to pack."""

    source: Path
    tar: Path
    files: list[KeyedFile]
    options: PackOptions

    @property
    def temporary(self) -> Path:
        """Where the tar is written until it is whole."""
        return self.tar.with_name(f".{self.tar.name}.partial")


def create(
    source: Path,
    out: Path,
    options: PackOptions,
    num_workers: int = 4,
    max_bad_share: float = 0.01,
    classes: Path | None = None,
    classes_from: str | None = None,
) -> None:
    """Pack a folder of images into shuffled, indexed shards; run again, it goes on where it was.

    Folders directly in the source are classes, empty ones too, numbered from 0 in the order of
    their names, which classes.json lists; a source without folders is packed without labels. Files
    that are no readable image are named in bad_files.txt. What is left out is counted at the end.

    Args:
        source: Folder of images: jpg, png, webp, tif, bmp, gif, ppm, and their other extensions.
        out: Folder for the shards: a new one, or that of a stopped run of the same command.
        options: What decides the bytes of the shards.
        num_workers: Processes, each with one shard at a time, 1 or more.
        max_bad_share: Share of unreadable files, in [0, 1], above which to stop.
        classes: File of the classes' names, one a line, in the order of their numbers.
        classes_from: Shards whose classes these are, too: those to train on, for held-out images.

    Raises:
        UserError: If an option is out of range, `out` is another's, or a folder cannot be listed.
        ShardError: If the source has no images, other classes, or too much that cannot be read.
    """
    if not 0 <= max_bad_share <= 1:
        raise UserError(f"max_bad_share={max_bad_share} is no share; give 0 to 1")
    if options.samples_per_shard is None and options.bytes_per_shard is None:
        options = replace(options, bytes_per_shard=_DEFAULT_BYTES_PER_SHARD)
    found = list_images(source, _names(classes, classes_from))
    shards = assign(found.files, options)
    with one_maker(out / ".create.lock", partial(_progress, out, len(shards))):  # plans would mix
        with usable(f"out={out}"):
            keep_assignment(out, options, found.files, found.classes)
        for line in warnings_of(found, source, out, options):
            print(line)
        jobs = [Job(source, out / name, part, options) for name, part in shards.items()]
        bad = _pack_all(jobs, num_workers, int(max_bad_share * len(found.files)))
        entries = {}
        for path, digest in each(sha256_of, [job.tar for job in jobs], num_workers):
            entries[path.name] = read_entry(index_beside(path))._replace(sha256=digest)
        write_manifest(out, entries)
        for leftover in out.glob(".*.partial"):  # of runs that were killed
            leftover.unlink()
    leave_out(found.left_out, UNREADABLE, next(iter(bad), ""), len(bad))
    print("\n".join(summary(found, entries.values(), source, out)))


def _progress(out: Path, num_shards: int) -> str:
    """Say how far another process is."""
    return f"{sum(1 for _ in out.glob('*.tar'))} of {num_shards} shards are packed"


def _names(file: Path | None, shards: str | None) -> Names | None:
    """Return the classes that are given by a file or by other shards, if they are."""
    if file is not None and shards is not None:
        raise UserError("classes and classes_from both name the classes; give one of the two")
    if shards is not None:
        names = names_of(open_shards(shards))
        if names is None:
            raise UserError(f"classes_from={shards} has no {CLASSES_NAME}; give a file as classes")
        return names
    if file is None:
        return None
    with usable(f"classes={file}"):
        text = file.read_bytes().decode("utf-8-sig", "surrogateescape")
    lines = map(str.strip, text.splitlines())
    names = tuple(line for line in lines if line)
    if not names or len(set(names)) < len(names):
        raise UserError(f"classes={file} must hold one name a line, each of them once")
    return names


def warnings_of(found: Source, source: Path, out: Path, options: PackOptions) -> list[str]:
    """Say what looks like a mistake in the classes, and what comes out nearly black."""
    said = [
        f"warning: the classes {one!r} and {other!r} may be one thing, spelled twice"
        for one, other in alike(found.classes)
    ]
    if found.nested:
        first, *others = sorted(found.nested, key=lambda name: not name.lower().startswith("train"))
        create = ["ssl-swin", "shards", "create"]
        words = [[*create, source / first, out / first]]
        words += [
            [*create, source / one, out / one, "--classes-from", out / first] for one in others
        ]
        commands = [shlex.join(map(str, command)) for command in words]
        said.append(
            f"warning: {', '.join(found.nested)} hold folders, and are packed as classes; if they "
            f"are sets, pack each by itself: {'; '.join(commands)}"
        )
    depths = depth_warning(_some_files(source, found.files), _reading(options))
    return said if depths is None else [*said, depths]


def summary(found: Source, entries: Collection[Entry], source: Path, out: Path) -> list[str]:
    """Say what was packed, what was left out, and what to type next."""
    num_images = sum(entry.num_samples for entry in entries)
    num_bytes = sum(entry.num_bytes for entry in entries)
    classes, more = ", ".join(found.classes[:_MOST_NAMED]), len(found.classes) - _MOST_NAMED
    classes += f" and {more} more" if more > 0 else ""
    num_classes = f"{len(found.classes)} classes: {classes}" if classes else "no classes"
    used = {file.label for file in found.files}
    empty = [name for place, name in enumerate(found.classes) if place not in used]
    kind = f"finetune CONFIG --num-classes {len(found.classes)}" if classes else "pretrain CONFIG"
    left_out = add_up([found.left_out, *(entry.left_out for entry in entries)])
    return [
        f"{num_images:,} images, {num_classes}",
        *([f"classes without an image: {', '.join(empty[:_MOST_NAMED])}"] if empty else []),
        *describe(left_out, str(source)),
        f"{len(entries)} shards of {num_bytes:,} bytes in {out}",
        f"next: ssl-swin {kind} --data.shards {shlex.quote(str(out))}",
    ]


def _pack_all(jobs: list[Job], num_workers: int, max_bad: int) -> dict[str, str]:
    """Pack every shard that is not there yet; stop above `max_bad` unreadable files.

    Returns why files are unreadable, by name, those of earlier runs included.
    """
    bad_path, bad = jobs[0].tar.with_name(BAD_NAME), {}
    if bad_path.exists():
        lines = bad_path.read_text(encoding="utf-8").splitlines()
        bad = {name: why for name, _, why in (line.partition("\t") for line in lines)}
    todo = [job for job in jobs if not job.tar.exists()]
    with Progress() as progress:
        task = progress.add_task("packing shards", total=len(jobs), completed=len(jobs) - len(todo))
        for job, found in each(pack_shard, todo, num_workers):
            bad |= found
            for name, why in found.items():
                progress.print(f"left out: {name}: {why}", markup=False, soft_wrap=True)
            if found:  # before the shard counts as done, or a restart would forget them
                with replacing(bad_path) as file:
                    for name, why in sorted(bad.items()):
                        file.write(f"{name}\t{why}\n".encode())
            if len(bad) > max_bad:
                raise ShardError(
                    f"{len(bad)} of {sum(len(job.files) for job in jobs)} files cannot be read, "
                    f"max_bad_share allows {max_bad}; {bad_path} names them: mend or remove them, "
                    "or allow more"
                )
            os.replace(job.temporary, job.tar)
            progress.advance(task)
    return bad


def _reading(options: PackOptions) -> Reading:
    max_pixels = options.max_pixels or MAX_PIXELS
    return Reading(max_pixels=max_pixels, black=options.black or 0.0, white=options.white)


def _some_files(source: Path, files: Sequence[ImageFile]) -> Iterator[bytes]:
    """Read some files, spread evenly."""
    for file in files[:: ceil(len(files) / _NUM_LOOKED_AT)]:
        with suppress(OSError):  # packing will name it
            yield (source / file.name).read_bytes()


def pack_shard(job: Job) -> dict[str, str]:
    """Write a shard under its temporary name, and its index; return by name why files are bad."""
    from webdataset import TarWriter  # seconds to import, so not for `--help`

    bad: dict[str, str] = {}
    several: LeftOut = {}
    with job.temporary.open("wb") as file:
        with TarWriter(file, user="", group="", mtime=0, encoder=False) as tar:
            for key, image in job.files:
                try:
                    source = (job.source / image.name).read_bytes()
                    extension, data = encode(image.name, source, job.options)
                except (UnreadableImage, PermissionError, FileNotFoundError) as error:
                    bad[printable(image.name)] = printable(str(error))
                    continue
                if has_several(source, _reading(job.options).max_pixels):
                    leave_out(several, PAGES, image.name)
                label = {} if image.label is None else {"cls": str(image.label).encode()}
                tar.write({"__key__": key, extension: data} | label)
        file.flush()
        os.fsync(file.fileno())
    found = index_shard(job.temporary, index_beside(job.tar))
    if several:
        add_notes(found.path, {"left_out": add_up([found.left_out, several])})
    return bad


def encode(name: str, data: bytes, options: PackOptions) -> tuple[str, bytes]:
    """Check that an image can be decoded, and encode it again where that is asked for.

    Returns extension and bytes for the shard: those given, or PNG or JPEG. UnreadableImage if the
    bytes are no readable image.
    """
    reading = _reading(options)
    decode(data, 3, reading)
    extension, image = name.rpartition(".")[2].lower(), open_image(data, reading.max_pixels)
    extension = _USUAL.get(extension, extension)
    scale = 1.0 if options.short_side is None else options.short_side / min(image.size)
    if scale >= 1 and options.quality is None:
        return extension, data
    lossless = options.quality is None and by_extension()[extension].lossless
    if lossless and image.mode in _PNG_MODES:
        image = upright(image)
    else:
        grey = image.mode in ("1", "L", "LA") or image.mode.startswith("I")
        image = decode(data, 1 if grey else 3, reading)
    if scale < 1:
        width, height = (round(side * scale) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    if lossless:
        image.save(buffer, "PNG")
        return "png", buffer.getvalue()
    image.save(buffer, "JPEG", quality=options.quality or _DEFAULT_QUALITY)
    return "jpg", buffer.getvalue()
