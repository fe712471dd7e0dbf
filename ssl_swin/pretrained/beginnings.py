"""What a file is by its first bytes, where it should hold tensors."""

from pathlib import Path

_NUM = 64
LEGACY_PICKLE = b"\x80\x02"  # how a file of torch before 1.6 begins: a pickle of protocol 2
_LIKE = {
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"<?xml": "XML, as storage answers when it refuses",
    b"version https://git-lfs": "a pointer of Git LFS: fetch what it stands for, git lfs pull",
    b"\x89hdf": "HDF5, as Keras and TensorFlow write",
    b"\x93numpy": "an array of NumPy",
    b"\x1f\x8b": "gzip: unpack it",
    b"gguf": "GGUF",
    b"\x80": "a pickle, which could run code and is not opened",
    b"{": "JSON",
}


def first_bytes(path: Path) -> bytes:
    """Return the beginning of a file."""
    with path.open("rb") as file:
        return file.read(_NUM)


def is_safetensors(path: Path) -> bool:
    """Say whether a file begins as safetensors do: the length of a JSON header, and that header."""
    begins = first_bytes(path)
    length = int.from_bytes(begins[:8], "little")
    return begins[8:9] == b"{" and length <= path.stat().st_size


def begins_like(begins: bytes) -> str:
    """Say what begins so, as ", a web page"; nothing if nobody knows."""
    text = begins.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not begins:
        return ", and it is empty"
    if begins[8:9] == b"{" and b"\0" in begins[:8]:
        return ", safetensors that are cut short"
    if begins[:1] == b"\x08" and (b"pytorch" in begins or b"onnx" in begins):
        return ", ONNX, which is no checkpoint: give the weights that it was exported from"
    if not begins.strip(b"\0"):
        return ", and zeros alone are what storage leaves of a file that it lost"
    return next((f", {what}" for start, what in _LIKE.items() if text.startswith(start)), "")
