"""Damaged indexes and manifests: one clear error, or the very bytes and labels of the tar."""

import json
import os
import random
from collections import Counter

import numpy as np
import pytest

from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.index_file import SAMPLE_DTYPE, index_beside
from ssl_swin.data.shards.indexing import index_shards
from ssl_swin.data.shards.manifest import MANIFEST_NAME
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.errors import ShardError
from tests.data.shards.limits import limits, told
from tests.data.shards.mutations import Target, build, flipped_anywhere, good_members

NUM_CASES = 500
NUM_SAMPLES = 6
EXTREMES = [0, 1, -1, 511, 512, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63), -512]
REFUSED, EQUAL, OTHER = "refused", "equal", "OTHER BYTES"
HEADS = [b"", b"PK\3\4" + bytes(99), b"\x80\4K\1.", b"\x93NUMPY\1\0\xff\xff" + b"[" * 70_000]
SHAPES = [b"(0,)", b"(2,)", b"(-1,)", b"(4611686018427387904,)", b"(7, 1)", b"()", b"([,)"]


@pytest.fixture
def tar(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = tmp_path / "a.tar"
    path.write_bytes(build(good_members(NUM_SAMPLES), "pax"))
    index_shards([path])
    return path


def flip_bits(draw, raw, first, stop):
    raw = bytearray(raw)
    for _ in range(draw.randint(1, 3)):
        raw[draw.randrange(first, stop)] ^= 1 << draw.randrange(8)
    return bytes(raw)


def put_extreme(draw, table):
    """A row with a number in it that no tar of this size has."""
    table = table.copy()
    name = draw.choice(SAMPLE_DTYPE.names)
    largest = np.iinfo(table[name].dtype).max
    fits = [number for number in EXTREMES if -largest - 1 <= number <= largest]
    table[name][draw.randrange(len(table))] = draw.choice(fits)
    return table


def broken_index(draw, raw):
    """An index file with bits flipped, an extreme number, another shape, cut, or none at all."""
    start = 10 + int.from_bytes(raw[8:10], "little")
    table = np.frombuffer(raw, SAMPLE_DTYPE, NUM_SAMPLES + 1, start)
    end = start + table.nbytes  # of the rows; then come the notes
    shape = draw.choice(SHAPES)
    old = b"(%d,)" % len(table)
    return draw.choice(
        [
            lambda: flip_bits(draw, raw, 0, start),
            lambda: flip_bits(draw, raw, start, len(raw)),
            lambda: raw[:start] + put_extreme(draw, table).tobytes() + raw[end:],
            lambda: flip_bits(draw, raw, end, len(raw)),
            lambda: raw[: draw.randrange(len(raw))],
            lambda: raw + draw.randbytes(draw.choice([1, 40, 4000])),
            lambda: raw.replace(old.ljust(len(shape)), shape),
            lambda: draw.choice(HEADS),
        ]
    )()


def replace(path, content):
    """Not written over: the old one may be mapped."""
    path.with_name("new").write_bytes(content)
    os.replace(path.with_name("new"), path)


def content_of(tar):
    """Bytes, label and key of every sample."""
    shards = open_shards(str(tar), index_missing=False)
    reader = ShardReader(shards)
    rows = range(len(shards.storage.rows(0)))
    try:
        return [(reader.read(0, row), reader.label(0, row), reader.key(0, row)) for row in rows]
    finally:
        shards.storage.close()


def outcome(tar, expected):
    with limits():
        try:
            return EQUAL if content_of(tar) == expected else OTHER
        except ShardError as error:
            told(error)
            return REFUSED


@pytest.mark.parametrize("with_manifest", [True, False])
def test_a_damaged_index_is_refused_or_reads_what_it_should(tar, with_manifest):
    expected, index = content_of(tar), index_beside(tar).read_bytes()
    if not with_manifest:
        tar.with_name(MANIFEST_NAME).unlink()
    counts = Counter()
    for number in range(NUM_CASES // 2):
        replace(index_beside(tar), broken_index(random.Random(number), index))
        counts[outcome(tar, expected)] += 1
    assert counts[OTHER] == 0, counts
    assert counts[REFUSED] > 0.8 * NUM_CASES / 2, counts


def test_an_index_without_a_checksum_reads_nothing_outside_its_tar(tar):
    whole, index, counts = tar.read_bytes(), index_beside(tar), Counter()
    table = np.load(index)
    table[-1]["offset"] = 0  # as older versions wrote it
    np.save(index, table)
    assert len(content_of(tar)) == NUM_SAMPLES
    for number in range(NUM_CASES // 2):
        broken = put_extreme(random.Random(number), table)
        with index.with_name("new.npy").open("wb") as file:
            np.save(file, broken)
        os.replace(file.name, index)
        with limits():
            try:
                for data, _, _ in content_of(tar):
                    assert data in whole
                counts["inside"] += 1
            except ShardError as error:
                told(error)
                counts[REFUSED] += 1
    assert min(counts.values()) > NUM_CASES // 20, counts


def broken_manifest(draw, text):
    values = [*EXTREMES, 10**30, "many", None, [], {}, 1.5, float("nan"), float("inf"), True]
    manifest = json.loads(text)
    manifest["shards"]["a.tar"][draw.randrange(2)] = draw.choice(values)
    keys = [draw.choice(["format", "shards"]), "other"]
    raw = text.encode()
    return draw.choice(
        [
            lambda: json.dumps(manifest).encode(),
            lambda: flip_bits(draw, raw, 0, len(raw)),
            lambda: raw[: draw.randrange(len(raw))],
            lambda: json.dumps(json.loads(text) | {keys[0]: draw.choice(values)}).encode(),
            lambda: b"[" * draw.choice([1, 100_000]),
            lambda: text.replace("a.tar", draw.choice(["../a.tar", "b.tar", ""])).encode(),
        ]
    )()


def test_a_damaged_manifest_is_refused_or_reads_what_it_should(tar):
    manifest = tar.with_name(MANIFEST_NAME)
    expected, text, counts = content_of(tar), manifest.read_text(), Counter()
    for number in range(NUM_CASES):
        replace(manifest, broken_manifest(random.Random(number), text))
        counts[outcome(tar, expected)] += 1
    assert counts[OTHER] == 0, counts
    assert min(counts[REFUSED], counts[EQUAL]) > NUM_CASES // 10, counts


def test_a_tar_that_was_damaged_after_indexing_is_refused_or_read_as_it_stands(tar):
    index, counts = np.load(index_beside(tar)), Counter()
    for number in range(NUM_CASES // 2):
        target = Target(random.Random(number), good_members(NUM_SAMPLES), "pax", tar.parent)
        raw = bytes(flipped_anywhere(target))
        replace(tar, raw)
        spans = [raw[row["offset"] : row["offset"] + row["size"]] for row in index[:-1]]
        reader = ShardReader(open_shards(str(tar), index_missing=False))
        for row in range(NUM_SAMPLES):
            for read in (reader.read, reader.label, reader.key):
                with limits():
                    try:
                        value = read(0, row)
                    except ShardError as error:
                        told(error)
                        counts[REFUSED] += 1
                        continue
                assert read != reader.read or value == spans[row]
                counts["read"] += 1
        reader.storage.close()
    assert min(counts.values()) > NUM_CASES // 10, counts
