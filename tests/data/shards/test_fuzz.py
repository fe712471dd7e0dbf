"""500 broken and strange tars: no hang, no crash, no byte elsewhere, and no sample lost in silence.

An image that stands in the tar, under a header that can be read and whose size leads over all of
it, is lost in silence if indexing does not refuse the tar, has no row with these bytes, and does
not count it among what was left out. A row whose bytes are not as they were is not lost: it reads
what stands in the tar, and where that is no image, `verify` names it and the stream replaces it.
"""

import random
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.order.lanes import Share
from ssl_swin.data.pixels.decode import UnreadableImage
from ssl_swin.data.pixels.formats import decode
from ssl_swin.data.pixels.transforms import EvaluationTransform
from ssl_swin.data.shards.indexing import index_shards
from ssl_swin.data.shards.layout import sample_key
from ssl_swin.data.shards.shard_set import ShardReader, ShardSet
from ssl_swin.errors import ShardError
from ssl_swin.shard_tools.inspect import broken_samples, verify
from tests.data.shards.limits import Hang, limits, told
from tests.data.shards.mutations import MUTATIONS, Target, good_members
from tests.data.shards.patient import Found, label_in, payloads_in

NUM_CASES = 500
REFUSED, EQUAL, COUNTED = "tar refused", "read, equal", "left out, counted"
BROKEN, CHANGED, GONE, SILENT = "named as broken", "read as it stands", "no image now", "SILENT"
OUTCOMES = (REFUSED, EQUAL, COUNTED, BROKEN, CHANGED, GONE, SILENT)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of broken metadata


def tree(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}


def read_rows(shards: ShardSet, raw: bytes) -> list[bytes]:
    """Every row's bytes, which must be those of one whole file of the tar, under its key."""
    files = {file.offset: file for file in payloads_in(raw) if file.is_file}
    reader, rows = ShardReader(shards), []
    for row, entry in enumerate(shards.rows(0)):
        file, data = files[int(entry["offset"])], reader.read(0, row)
        assert data == file.data
        assert reader.key(0, row) == sample_key(file.name)[0]
        check_label(reader, row, file, list(files.values()))
        rows.append(data)
    reader.close()
    return rows


def check_label(reader: ShardReader, row: int, image: Found, files: list[Found]) -> None:
    """A label is read from a label file of that key, or refused."""
    key = sample_key(image.name)[0]
    allowed = {label_in(file) for file in files if sample_key(file.name)[0] == key}
    try:
        label = reader.label(0, row)
    except ShardError as error:
        told(error)
    else:
        assert label in allowed - {None}


def is_image(data: bytes) -> bool:
    try:
        return decode(data, in_chans=3).mode == "RGB"
    except UnreadableImage:
        return False


def check_stream(shards: ShardSet, rows: list[bytes]) -> None:
    """What cannot be decoded is named by verify and replaced by the stream, and nothing else."""
    bad = [row for row, data in enumerate(rows) if not is_image(data)]
    named = broken_samples((shards, 0))
    assert len([why for _, why in named if "label" not in why]) == len(bad)
    stream = ImageStream(shards, EvaluationTransform(8), 8, in_chans=3)
    if len(bad) < len(rows):
        batch = stream.__getitems__(Share(0, np.arange(len(rows))))
        assert np.flatnonzero(batch["replaced"].numpy() >= 0).tolist() == bad
    elif rows:
        with pytest.raises(ShardError, match="none of its"):
            stream.__getitems__(Share(0, np.arange(len(rows))))
    if named:
        with pytest.raises(ShardError, match="are broken"):
            verify(str(shards.paths[0]), num_workers=1)
    else:
        verify(str(shards.paths[0]), num_workers=1)


def outcomes(images: dict[str, bytes], path: Path) -> Counter:
    """What became of each image of the good tar; fails where a law is broken."""
    raw = path.read_bytes()
    try:
        (found,) = index_shards([path], num_workers=1)
    except ShardError as error:
        told(error)
        with pytest.raises(ShardError):
            ShardSet.open(str(path), num_workers=1)
        return Counter({REFUSED: len(images)})
    shards = ShardSet.open(str(path), index_missing=False)
    rows = read_rows(shards, raw)
    check_stream(shards, rows)
    payloads = payloads_in(raw)
    files = [file for file in payloads if file.is_image]
    num_reported = found.num_without_image + found.num_ignored
    all_told = len(files) - len(rows) <= num_reported
    keys = {sample_key(file.name)[0]: file for file in files}
    count: Counter = Counter()
    for key, data in images.items():
        if data in rows:
            count[EQUAL] += 1
        elif any(file.data == data for file in files):
            count[COUNTED if all_told else SILENT] += 1
        elif key in keys:
            count[CHANGED if is_image(keys[key].data) else BROKEN] += 1
        else:  # a whole one can only be part of another file now
            inside = any(data in payload.data for payload in payloads)
            count[SILENT if data in raw and not inside else GONE] += 1
    return count


def make_case(number: int, folder: Path) -> tuple[str, dict[str, bytes], Path]:
    draw = random.Random(number)
    mutate = MUTATIONS[number % len(MUTATIONS)]
    tar_format = draw.choice(["ustar", "gnu", "pax"])
    members = good_members(long_names=tar_format != "ustar" and draw.random() < 0.4)
    images = {sample_key(info.name)[0]: data for info, data in members[::2]}
    target = Target(draw, members, tar_format, folder / "outside")
    path = folder / "shards" / f"{number}" / "a.tar"
    path.parent.mkdir(parents=True)
    path.write_bytes(mutate(target))
    return mutate.__name__, images, path


def as_table(counts: dict[str, Counter]) -> str:
    lines = ["| mutation | " + " | ".join(OUTCOMES) + " |", "|---" * (len(OUTCOMES) + 1) + "|"]
    total: Counter = sum(counts.values(), Counter())
    for name, count in [*counts.items(), ("all", total)]:
        lines.append(f"| {name} | " + " | ".join(str(count[o]) for o in OUTCOMES) + " |")
    return "\n".join(lines)


def test_no_sample_of_a_broken_tar_is_lost_in_silence(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"untouched")
    counts: dict[str, Counter] = defaultdict(Counter)
    failures = []
    for number in range(NUM_CASES):
        name, images, path = make_case(number, tmp_path)
        before = tree(tmp_path)
        try:
            with limits():
                counts[name] += outcomes(images, path)
        except (Exception, Hang) as error:
            failures.append(f"case {number}, {name}: {error!r}")
        changed = {p for p, when in tree(tmp_path).items() if before.get(p) != when}
        allowed = {f"{path}.index.npy", str(path.parent / "index.json"), str(path.parent)}
        if not changed <= allowed:
            failures.append(f"case {number}, {name}: wrote {changed - allowed}")
    table = as_table(counts)
    assert not failures, "\n".join([*failures, table])
    total: Counter = sum(counts.values(), Counter())
    assert total[SILENT] == 0, table
    assert total.total() == NUM_CASES * 6, table
    assert min(total[outcome] for outcome in OUTCOMES if outcome != SILENT) > 0, table
