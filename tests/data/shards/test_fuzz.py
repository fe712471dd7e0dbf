"""500 broken and strange tars: no hang, no crash, no byte elsewhere, and no sample lost in silence.

An image of the good tar stands in the broken one if its bytes do, right behind a file's header of
its size, and not within another file. It is lost in silence if indexing does not refuse the tar,
has no row with these bytes, and does not count it among what was left out. A row whose bytes are
not as they were is not lost: it reads what stands in the tar, and where that is no image, `verify`
names it and the stream replaces it.
"""

import json
import random
import tarfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.open import open_shards
from ssl_swin.data.order.lanes import Share
from ssl_swin.data.pixels.decode import Reading, UnreadableImage
from ssl_swin.data.pixels.formats import decode
from ssl_swin.data.pixels.transforms import EvaluationTransform
from ssl_swin.data.shards.indexing import index_shards
from ssl_swin.data.shards.names import sample_key
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import ShardError
from ssl_swin.shard_tools.verify import broken_samples, verify
from tests.data.shards.limits import Hang, limits, told
from tests.data.shards.mutations import BLOCK, MUTATIONS, Target, good_members, headers_in

NUM_CASES = 500
REFUSED, EQUAL, COUNTED = "tar refused", "read, equal", "left out, counted"
GONE, SILENT = "no file any more", "SILENT"
OUTCOMES = (REFUSED, EQUAL, COUNTED, GONE, SILENT)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of broken metadata


def tree(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}


def places_of(data: bytes, raw: bytes, headers: dict[int, tarfile.TarInfo]) -> list[int]:
    """The headers of files behind which an image stands whole, and that are in no other file."""
    ends = {place: place + BLOCK + info.size for place, info in headers.items()}
    files = [place for place, info in headers.items() if info.isreg() and info.size == len(data)]
    whole = [place for place in files if raw[place + BLOCK : ends[place]] == data]
    return [place for place in whole if not any(p < place < ends[p] for p in headers)]


def read_rows(shards: ShardSet, path: Path) -> list[bytes]:
    """Every row's bytes, which must be those of one whole file of the tar, under its key."""
    with tarfile.open(path, "r:") as tar:
        members = {member.offset: member for member in tar}
        files = {file.offset_data: file for file in members.values() if file.isreg()}
        labels = defaultdict(set)
        for file in files.values():
            labels[sample_key(file.name)[0]].add(label_in(file.name, tar.extractfile(file).read()))
    raw, reader, rows = path.read_bytes(), ShardReader(shards), []
    for row, entry in enumerate(shards.storage.rows(0)):
        file, data = files[int(entry["offset"])], reader.read(0, row)
        assert data == raw[file.offset_data : file.offset_data + file.size]
        member = members[int(entry["header"])]
        assert member is file or (member.islnk() and member.linkname == file.name)
        key = sample_key(member.name)[0]
        assert reader.key(0, row) == key
        try:
            assert reader.label(0, row) in labels[key] - {None}
        except ShardError as error:
            told(error)
        rows.append(data)
    shards.storage.close()
    return rows


def label_in(name: str, data: bytes) -> int | None:
    """The class that a label member names, if it does."""
    try:
        value = json.loads(data)["label"] if name.endswith(".json") else int(data)
    except (ValueError, KeyError, TypeError):
        return None
    return value if isinstance(value, int) else None


def is_image(data: bytes) -> bool:
    try:
        return decode(data, in_chans=3).mode == "RGB"
    except UnreadableImage:
        return False


def check_stream(shards: ShardSet, rows: list[bytes]) -> None:
    """What cannot be decoded is named by verify and replaced by the stream, and nothing else."""
    bad = [row for row, data in enumerate(rows) if not is_image(data)]
    named = broken_samples((shards, 0, Reading()))
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
            verify(shards.storage.where(0), num_workers=1)
    else:
        verify(shards.storage.where(0), num_workers=1)


def outcomes(images: list[bytes], path: Path) -> Counter:
    """What became of each image of the good tar; fails where a law is broken."""
    try:
        (found,) = index_shards([path], num_workers=1)
    except ShardError as error:
        told(error)
        with pytest.raises(ShardError):
            open_shards(str(path), num_workers=1)
        return Counter({REFUSED: len(images)})
    shards = open_shards(str(path), index_missing=False)
    rows = read_rows(shards, path)
    check_stream(shards, rows)
    raw = path.read_bytes()
    headers, count = headers_in(raw), Counter()
    for data in images:
        stands = places_of(data, raw, headers)
        count[EQUAL if data in rows else COUNTED if stands else GONE] += 1
    if count[COUNTED] > sum(num for num, _ in found.left_out.values()):
        count[SILENT] = count.pop(COUNTED)
    return count


def make_case(number: int, folder: Path) -> tuple[str, list[bytes], Path]:
    draw = random.Random(number)
    mutate = MUTATIONS[number % len(MUTATIONS)]
    tar_format = draw.choice(["ustar", "gnu", "pax"])
    members = good_members(long_names=tar_format != "ustar" and draw.random() < 0.4)
    images = [data for _, data in members[::2]]
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
        ours = f"{path}.index.npy", f"{path}.labels", path.parent / "index.json", path.parent
        allowed = set(map(str, ours))
        if not changed <= allowed:
            failures.append(f"case {number}, {name}: wrote {changed - allowed}")
    table = as_table(counts)
    assert not failures, "\n".join([*failures, table])
    total: Counter = sum(counts.values(), Counter())
    assert total[SILENT] == 0, table
    assert total.total() == NUM_CASES * 6, table
    assert min(total[outcome] for outcome in OUTCOMES if outcome != SILENT) > 0, table
