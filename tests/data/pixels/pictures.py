"""Pictures and their files, for the tests of this folder and others."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(mode, size=(7, 5)):
    shape = (size[1], size[0], len(Image.new(mode, (1, 1)).getbands()))
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return Image.frombytes(mode, size, pixels.tobytes())


def photograph(size=(200, 150), mode="RGB", seed=0):
    """Noise with the spectrum of a photograph, 1/f, and some edges."""
    draw = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(size[1])[:, None], np.fft.fftfreq(size[0])[None]
    falloff = 1 / np.hypot(rows, columns).clip(1 / max(size))
    bands = np.fft.fft2(draw.normal(size=(3, size[1], size[0])))
    grey, *tints = np.fft.ifft2(bands * falloff).real
    pixels = np.stack([grey, grey + 0.2 * tints[0], grey + 0.2 * tints[1]], 2)
    pixels = 128 + 45 * (pixels - pixels.mean()) / pixels.std()
    pixels[size[1] // 3 : size[1] // 2, size[0] // 4 : size[0] // 2] += 40
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode)


def png_chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(width, height, bits, colour_type, rows, *chunks):
    """A PNG of kinds that Pillow does not write."""
    head = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)
