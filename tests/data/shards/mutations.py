"""Ways in which a tar may be broken or strange, each a function of a draw."""

import gzip
import io
import random
import tarfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.data.shards.tars import FORMATS, image_bytes

BLOCK = tarfile.BLOCKSIZE
SIZE, TYPE = slice(124, 136), slice(156, 157)
LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
Members = list[tuple[tarfile.TarInfo, bytes]]


def good_members(num: int = 6, long_names: bool = False) -> Members:
    """Samples of several kinds of image, labelled by turns in `.cls` and `.json`."""
    members = []
    for place in range(num):
        kind, extension = [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")][place % 3]
        key = f"{'folder/' * (30 if long_names and place % 2 else 1)}s{place}"
        members.append((f"{key}.{extension}", image_bytes(place, kind, (20 + place, 17))))
        label = ("cls", b"%d" % place) if place % 2 else ("json", b'{"label": %d}' % place)
        members.append((f"{key}.{label[0]}", label[1]))
    return [(_info(name, len(data)), data) for name, data in members]


def _info(name: str, size: int, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def build(members: Members, format: str) -> bytearray:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=FORMATS[format]) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return bytearray(buffer.getvalue())


def headers_in(raw: bytes) -> dict[int, tarfile.TarInfo]:
    """Every block that is a header, whether a reader comes there or not, by its place."""
    found = {}
    for place in range(0, len(raw) - BLOCK + 1, BLOCK):
        with suppress(tarfile.HeaderError, ValueError):
            block = raw[place : place + BLOCK]
            found[place] = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    return found


def sign(raw: bytearray, header: int) -> None:
    """Make a header's checksum right again."""
    raw[header + 148 : header + 156] = b" " * 8
    total = sum(raw[header : header + BLOCK])
    raw[header + 148 : header + 156] = b"%06o\0 " % total


@dataclass
class Target:
    """What a mutation gets: a good tar, and where things are in it."""

    draw: random.Random
    members: Members
    format: str
    outside: Path
    """A folder that nobody may write to."""

    def __post_init__(self) -> None:
        self.raw = build(self.members, self.format)
        self.headers = list(headers_in(self.raw))
        self.end = self.headers[-1] + 2 * BLOCK  # of the last payload, which is a label

    def edit(self, field: slice, value: bytes, of: str = "") -> bytearray:
        """Write a field of a drawn header, of a member whose name ends so, and sign it."""
        found = headers_in(self.raw).items()
        named = [header for header, info in found if info.name.endswith(of)]
        chosen = self.draw.choice(named or self.headers)
        first, stop = chosen + field.start, chosen + field.stop
        self.raw[first:stop] = value.ljust(stop - first, b"\0")
        sign(self.raw, chosen)
        return self.raw

    def insert(self, *added: tuple[tarfile.TarInfo, bytes]) -> bytearray:
        place = self.draw.randrange(0, len(self.members) + 1, 2)
        self.members[place:place] = added
        return build(self.members, self.format)

    def insert_raw(self, block: bytes) -> bytearray:
        place = self.draw.choice(self.headers)
        self.raw[place:place] = block
        return self.raw


def flip(target: Target, places: range | list[int], most: int = 4) -> bytearray:
    for _ in range(target.draw.randint(1, most)):
        target.raw[target.draw.choice(places)] ^= 1 << target.draw.randrange(8)
    return target.raw


def flipped_headers(target: Target) -> bytearray:
    return flip(target, [h + i for h in target.headers for i in range(BLOCK)])


def flipped_payloads(target: Target) -> bytearray:
    headers = {h + i for h in target.headers for i in range(BLOCK)}
    return flip(target, [i for i in range(target.end) if i not in headers])


def flipped_anywhere(target: Target) -> bytearray:
    return flip(target, range(len(target.raw)), 30)


def zeroed_block(target: Target) -> bytearray:
    place = target.draw.randrange(0, target.end, BLOCK)
    target.raw[place : place + BLOCK] = bytes(BLOCK)
    return target.raw


def cut(target: Target) -> bytearray:
    unit = target.draw.choice([1, BLOCK])
    return target.raw[: target.draw.randrange(0, target.end + unit, unit)]


def removed_bytes(target: Target) -> bytearray:
    place = target.draw.randrange(0, target.end, target.draw.choice([1, BLOCK]))
    del target.raw[place : place + target.draw.choice([1, 7, BLOCK, 3 * BLOCK])]
    return target.raw


def inserted_bytes(target: Target) -> bytearray:
    place = target.draw.randrange(0, target.end, target.draw.choice([1, BLOCK]))
    size = target.draw.choice([1, 7, BLOCK, 3 * BLOCK])
    target.raw[place:place] = target.draw.choice([bytes(size), target.draw.randbytes(size)])
    return target.raw


def no_end_mark(target: Target) -> bytearray:
    return target.raw[: target.end]


def garbage_at_the_end(target: Target) -> bytearray:
    garbage = target.draw.randbytes(target.draw.choice([1, 100, BLOCK, 4000]))
    keep = target.draw.choice([target.end, target.end + BLOCK, len(target.raw)])
    return target.raw[:keep] + garbage


def two_tars_end_to_end(target: Target) -> bytearray:
    return target.raw + build(good_members(2), target.format)


def empty(target: Target) -> bytearray:
    return bytearray(target.draw.choice([0, 1, BLOCK, 2 * BLOCK, 10240]))


def compressed(target: Target) -> bytearray:
    return bytearray(gzip.compress(target.raw))


def other_names(target: Target) -> bytearray:
    info, _ = target.draw.choice(target.members)
    folder, _, base = info.name.rpartition("/")
    stem, _, extension = base.partition(".")
    names = [f".{base}", stem, f"__meta__/{base}", f"{base}/", f"{stem}.txt", f"{stem}.JPG"]
    names += [f"{stem}.a.{extension}", f"new\nline.{extension}", "\udcff.png", f"{stem}.jpg"]
    name = target.draw.choice(names)
    info.name = f"{folder}/{name}" if target.draw.random() < 0.7 else name
    return build(target.members, target.format)


def duplicate_keys(target: Target) -> bytearray:
    first, second = (target.draw.choice(target.members)[0] for _ in range(2))
    second.name = first.name
    if target.draw.random() < 0.3:
        target.insert((first, target.members[0][1][: first.size].ljust(first.size, b"x")))
    return build(target.members, target.format)


def paths_that_lead_away(target: Target) -> bytearray:
    info, _ = target.draw.choice(target.members)
    up = target.draw.choice(["../../outside/", f"{target.outside}/", "/", "a/../../outside/"])
    info.name = up + info.name.rpartition("/")[2]
    return build(target.members, target.format)


def links_and_devices(target: Target) -> bytearray:
    kind = target.draw.choice(LINKS)
    name = target.members[0][0].name
    added = _info(f"{target.draw.choice(['l', name[:-4]])}.png", 0, type=kind, linkname=name)
    if target.draw.random() < 0.3:
        added.linkname = str(target.outside / "file")
    return target.insert((added, b""))


def other_types(target: Target) -> bytearray:
    kinds = [*LINKS, tarfile.DIRTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, b"Z", b"\0"]
    return target.edit(TYPE, target.draw.choice([*kinds, b"L", b"K", b"x", b"g", b"X"]))


def other_sizes(target: Target) -> bytearray:
    size = target.draw.choice([0, 1, 511, 512, 513, 2**20, 2**33 - 1, target.draw.randrange(9000)])
    return target.edit(SIZE, b"%011o" % size, target.draw.choice(["", ".png", ".cls"]))


def binary_sizes(target: Target) -> bytearray:
    size = target.draw.choice([2**40, 2**62, 2**63, 2**64, 2**87, -1, -512, -1024, -(2**40)])
    value = size if size >= 0 else 256**11 + size
    return target.edit(SIZE, (b"\x80" if size >= 0 else b"\xff") + value.to_bytes(11, "big"))


def a_member_that_holds_the_next(target: Target) -> bytearray:
    place = target.draw.randrange(len(target.headers) - 2)
    header, after = target.headers[place], target.headers[place + 2]
    target.raw[header + 124 : header + 136] = b"%011o\0" % (after - header - BLOCK)
    sign(target.raw, header)
    return target.raw


def signed_edits(target: Target) -> bytearray:
    header = target.draw.choice(target.headers)
    for _ in range(target.draw.randint(1, 3)):
        target.raw[header + target.draw.randrange(500)] = target.draw.randrange(256)
    sign(target.raw, header)
    return target.raw


def pax_records(target: Target) -> bytearray:
    """One record more on a member: sizes that are not its own, other names, sparse maps."""
    info, data = target.draw.choice(target.members)
    sizes = ["0", "1", "-1", "-1024", str(2**40), str(2**70), "9" * 5000, "many", str(len(data))]
    records = [{"size": size} for size in sizes]
    records += [{"path": "../outside/x.png"}, {"path": ""}, {"hdrcharset": "BINARY"}]
    records += [{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}, {"GNU.sparse.size": "5"}]
    records += [{"GNU.sparse.map": "0,5,7,x"}, {"GNU.sparse.name": "other.png"}]
    info.pax_headers = target.draw.choice(records)
    return build(target.members, "pax")


def global_records(target: Target) -> bytearray:
    records = [{"comment": "x"}, {"size": "7"}, {"size": "-512"}, {"uname": "u"}]
    header = tarfile.TarInfo.create_pax_global_header(target.draw.choice(records))
    return target.insert_raw(header)


def _extended(kind: bytes, payload: bytes, claimed: int | None = None) -> bytes:
    """An extended header, which may claim more bytes than it has."""
    info = _info("././@LongLink", len(payload), type=kind)
    raw = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    if claimed is not None:
        value = claimed if claimed >= 0 else 256**11 + claimed
        raw[SIZE] = (b"\x80" if claimed >= 0 else b"\xff") + value.to_bytes(11, "big")
        sign(raw, 0)
    return bytes(raw) + payload + bytes(-len(payload) % BLOCK)


def header_bombs(target: Target) -> bytearray:
    kind = target.draw.choice([b"x", b"g", b"L", b"K", b"X"])
    claims = [None, 2**30, 2**40, 2**62, 2**80, -1, -512, -(2**40)]
    payload = target.draw.choice([b"", b"9" * 60_000, b"11 path=a.b\n" * 40, b"x" * BLOCK])
    return target.insert_raw(_extended(kind, payload, target.draw.choice(claims)))


def chains_of_headers(target: Target) -> bytearray:
    kind, num = target.draw.choice([b"x", b"L", b"g"]), target.draw.choice([3, 100, 3000])
    return target.insert_raw(_extended(kind, b"12 path=a.b\n") * num)


def sparse_members(target: Target) -> bytearray:
    info = _info("hole.png", 0, type=tarfile.GNUTYPE_SPARSE)
    raw = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    raw[386:410] = b"%011o\0%011o\0" % (0, 7)
    raw[482] = target.draw.choice([0, 1])  # more of the map is to come
    raw[483:495] = b"%011o\0" % target.draw.choice([7, 2**32])
    sign(raw, 0)
    return target.insert_raw(bytes(raw) + target.draw.choice([b"", bytes(BLOCK), b"1" * BLOCK]))


def missing_member(target: Target) -> bytearray:
    del target.members[target.draw.randrange(len(target.members))]
    return build(target.members, target.format)


def shuffled_members(target: Target) -> bytearray:
    target.draw.shuffle(target.members)
    return build(target.members, target.format)


MUTATIONS: list[Callable[[Target], bytearray]] = [
    function
    for function in list(globals().values())
    if list(getattr(function, "__annotations__", ())) == ["target", "return"]
]
"""Every function of this file that takes a target and nothing else, in the order of the file."""
