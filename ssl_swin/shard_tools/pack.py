"""Packs image files into the tars of shards; a tar gets its name when it is whole."""

import io
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ssl_swin.data.counting import counting
from ssl_swin.data.pixels.array_files import is_array, read_raw
from ssl_swin.data.pixels.bands import channels_last
from ssl_swin.data.pixels.decode import MAX_PIXELS, Reading, UnreadableImage, upright
from ssl_swin.data.pixels.formats import by_extension, check, decode, has_several, open_image
from ssl_swin.data.shards.index_file import add_notes, index_beside
from ssl_swin.data.shards.indexing import index_shard
from ssl_swin.data.shards.left_out import PAGES, LeftOut, add_up, leave_out
from ssl_swin.data.shards.names import printable
from ssl_swin.errors import ShardError
from ssl_swin.files import replacing
from ssl_swin.shard_tools.assign import KeyedFile, PackOptions
from ssl_swin.shard_tools.parallel import count_image, each

BAD_NAME = "bad_files.txt"
_DEFAULT_QUALITY = 90
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


def pack_all(out: Path, jobs: Sequence[Job], num_workers: int, max_bad: int) -> dict[str, str]:
    """Pack every shard that is not there yet; stop above `max_bad` unreadable files.

    Returns why files are unreadable, by name, those of earlier runs included; `out` keeps it.

    Raises:
        ShardError: If more files cannot be read.
    """
    bad_path, bad = out / BAD_NAME, {}
    if bad_path.exists():
        lines = bad_path.read_text(encoding="utf-8").splitlines()
        bad = {name: why for name, _, why in (line.partition("\t") for line in lines)}
    todo = [job for job in jobs if not job.tar.exists()]
    total, left = (sum(len(job.files) for job in some) for some in (jobs, todo))
    with counting("packing", total, total - left) as count:
        for job, found in each(pack_shard, todo, num_workers, count):
            bad |= found
            for name, why in found.items():
                print(f"left out: {name}: {why}", flush=True)
            if found:  # before the shard counts as done, or a restart would forget them
                with replacing(bad_path) as file:
                    for name, why in sorted(bad.items()):
                        file.write(f"{name}\t{why}\n".encode())
            if len(bad) > max_bad:
                raise ShardError(
                    f"{len(bad)} of {total} files cannot be read, "
                    f"max_bad_share allows {max_bad}; {bad_path} names them: mend or remove them, "
                    "or allow more"
                )
            os.replace(job.temporary, job.tar)
    return bad


def pack_shard(job: Job) -> dict[str, str]:
    """Write a shard under its temporary name, and its index; return by name why files are bad."""
    from webdataset import TarWriter  # seconds to import, so not for `--help`

    bad: dict[str, str] = {}
    several: LeftOut = {}
    with job.temporary.open("wb") as file:
        with TarWriter(file, user="", group="", mtime=0, encoder=False) as tar:
            for key, image in job.files:
                count_image()
                try:
                    source = (job.source / image.name).read_bytes()
                    extension, data = encode(image.name, source, job.options)
                except (UnreadableImage, PermissionError, FileNotFoundError) as error:
                    bad[printable(image.name)] = printable(str(error))
                    continue
                if has_several(source, reading_of(job.options).max_pixels):
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
    reading = reading_of(options)
    check(data, reading)
    extension = name.rpartition(".")[2].lower()
    extension = _USUAL.get(extension, extension)
    if (image := _picture(data, reading)) is None:
        if options.short_side is not None or options.quality is not None:
            raise UnreadableImage(
                "its numbers are packed as they are; leave out --short-side and --quality"
            )
        _require_channels(data, reading, options)
        return extension, data
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


def _picture(data: bytes, reading: Reading) -> Image.Image | None:
    """Open what holds colours; None of other numbers."""
    if not is_array(data):
        return open_image(data, reading.max_pixels)
    with suppress(UnreadableImage):
        decode(data, 3, reading)
        return open_image(data, reading.max_pixels)
    return None


def _require_channels(data: bytes, reading: Reading, options: PackOptions) -> None:
    """Refuse an image that has not as many channels as are named, where its file tells how many."""
    if options.channels is None:
        return
    raw = read_raw(data, reading.max_pixels)
    try:
        num = channels_last(raw, None).shape[2]
    except UnreadableImage:  # which axis they are is told later, by data.channel_axis
        return
    if num != len(options.channels):
        raise UnreadableImage(
            f"it has {num} channels, and --channel-names names {len(options.channels)}"
        )


def reading_of(options: PackOptions) -> Reading:
    """Return how files become pixels where they are encoded again."""
    max_pixels = options.max_pixels or MAX_PIXELS
    return Reading(max_pixels=max_pixels, black=options.black or 0.0, white=options.white)
