"""The names that TIFFs give their bands, as GDAL and rasterio write them, for `channels.json`."""

import io
import re
from collections.abc import Sequence
from contextlib import suppress
from html import unescape
from math import ceil
from pathlib import Path

from ssl_swin.data.pixels.array_files import BROKEN, TIFFS
from ssl_swin.data.pixels.channels import Names, unusable_names
from ssl_swin.shard_tools.source import ImageFile

_TAG = 42112  # GDAL_METADATA: XML, an item for each description
_ITEM = re.compile(r"<Item\b([^<>]*\brole=\"description\"[^<>]*)>([^<>]*)</Item>")
_SAMPLE = re.compile(r"\bsample=\"(\d{1,4})\"")
_MOST_CHARACTERS = 1 << 20
_NUM_LOOKED_AT = 16  # files, which must all say the same


def names_in(source: Path, files: Sequence[ImageFile]) -> Names | None:
    """Return the names of the bands of files that all have the same ones; else None."""
    found = set()
    for file in files[:: ceil(len(files) / _NUM_LOOKED_AT) or 1]:
        with suppress(OSError):  # packing will name it
            found.add(band_names((source / file.name).read_bytes()))
    return found.pop() if len(found) == 1 else None


def band_names(data: bytes) -> Names | None:
    """Return the names of the bands of a TIFF, one for each, no two alike; else None.

    Source:
        GDAL's GeoTIFF driver, which keeps the descriptions of bands in the tag GDAL_METADATA.
    """
    if not data.startswith(TIFFS):
        return None
    import tifffile  # late, for speed: only these files need it

    try:
        with tifffile.TiffFile(io.BytesIO(data), _multifile=False, is_ome=False) as file:
            page = file.pages[0].aspage()
            num, tag = page.samplesperpixel, page.tags.get(_TAG)
            text = None if tag is None else tag.value
    except (*BROKEN, tifffile.TiffFileError):  # packing says what is broken
        return None
    if not isinstance(text, str) or len(text) > _MOST_CHARACTERS:
        return None
    named = {}
    for about, name in _ITEM.findall(text):
        if sample := _SAMPLE.search(about):
            named[int(sample[1])] = unescape(name).strip()
    names = tuple(named.get(place, "") for place in range(num))
    is_usable = len(named) == num and not unusable_names(names) and "," not in "".join(names)
    return names if is_usable else None
