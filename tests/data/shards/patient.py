"""Reads a tar as a patient person would, without tarfile: what the fuzz tests hold ours against."""

import json
import re
from dataclasses import dataclass

BLOCK = 512
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")


@dataclass(frozen=True)
class Found:
    """What stands in a tar under one header: a file, or long names and records of the next."""

    name: str
    offset: int
    data: bytes
    kind: bytes

    @property
    def is_image(self) -> bool:
        return self.is_file and self.name.lower().endswith(IMAGES)

    @property
    def is_file(self) -> bool:
        return self.kind in b"0\x007"


def payloads_in(raw: bytes) -> list[Found]:
    """Go through a tar as a patient person would: over holes and damaged headers to the next good.

    Knows nothing of tarfile: ustar names, sizes in octal and base 256, GNU long names, pax paths
    and sizes.
    """
    place, long_name, records, found = 0, None, {}, []
    while place + BLOCK <= len(raw):
        block = raw[place : place + BLOCK]
        place += BLOCK
        if not _is_header(block):
            long_name, records = None, {}
            continue
        size = _number(block[124:136])
        size = int(records["size"]) if re.fullmatch(r"\d{1,18}", records.get("size", "")) else size
        kind = block[156:157]
        if size is None or not 0 <= size <= len(raw) - place:
            long_name, records = None, {}
            continue
        size = 0 if kind in b"123456" else size
        payload = bytes(raw[place : place + size])
        prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
        name = long_name or b"/".join(filter(None, (prefix, block[:100].partition(b"\0")[0])))
        text = records.get("path") or name.decode("utf-8", "surrogateescape")
        found.append(Found(text, place, payload, kind))
        if kind == b"L":
            long_name = long_name or payload.partition(b"\0")[0]
        elif kind in b"xX":
            records = dict(_records(payload)) | records
        if kind not in b"LKxXg":
            long_name, records = None, {}
        place += -(-size // BLOCK) * BLOCK
    return found


def _is_header(block: bytes) -> bool:
    unsigned = 256 + sum(block[:148]) + sum(block[156:])
    signed = unsigned - 256 * sum(byte > 127 for byte in block[:148] + block[156:])
    stored = _number(block[148:156])
    return any(block) and stored in (unsigned, signed)


def _number(field: bytes) -> int | None:
    if field[0] in (0x80, 0xFF):
        return int.from_bytes(field[1:], "big") - (256 ** (len(field) - 1) * (field[0] == 0xFF))
    text = field.partition(b"\0")[0].strip()
    return int(text or b"0", 8) if re.fullmatch(rb"[0-7]*", text) else None


def _records(payload: bytes) -> list[tuple[str, str]]:
    found = []
    while match := re.match(rb"(\d{1,6}) ([^=]+)=", payload):
        record, payload = payload[: int(match[1])], payload[int(match[1]) :]
        if not int(match[1]):
            break
        value = record[match.end() : -1].decode("utf-8", "surrogateescape")
        found.append((match[2].decode("utf-8", "replace"), value))
    return found


def label_in(file: Found) -> int | None:
    """The class that a label member names, if it does."""
    try:
        value = json.loads(file.data)["label"] if file.name.endswith(".json") else int(file.data)
    except (ValueError, KeyError, TypeError):
        return None
    return value if isinstance(value, int) else None
