"""Read the tensors of a file, without running what it pickles."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import torch
from torch import Tensor

from ssl_swin.errors import MachineError
from ssl_swin.files import sha256_of
from ssl_swin.pretrained.beginnings import LEGACY_PICKLE, begins_like, first_bytes, is_safetensors
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.pickled import SMALL, UNREADABLE, Recipe, described

_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")
_TIMES = 4  # as large as its file all tensors of a file may be: some share a storage
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class TensorFile:
    """An opened file of tensors, which are read one by one."""

    path: Path
    names: tuple[str, ...]
    """Of all tensors; one in a dictionary has that dictionary's key before its own, and a dot."""
    metadata: dict[str, str]
    """What a ``.safetensors`` says of itself."""
    read: Callable[[str], Tensor]
    """Name -> tensor, on the CPU."""
    said: Mapping[str, Any] = field(default_factory=dict)
    """What an archive of torch has in its outermost dictionary, as it says: not yet believed."""


def is_tensor_file(path: Path) -> bool:
    """Say whether a file looks like one of tensors: by its first bytes, or by its name."""
    if path.suffix in _SUFFIXES:
        return True
    return (
        first_bytes(path).startswith(LEGACY_PICKLE)
        or is_safetensors(path)
        or (zipfile.is_zipfile(path) and any(n.endswith("/data.pkl") for n in _members(path)))
    )


def is_whole(path: Path) -> bool:
    """Say whether there is such a safetensors file, as long as it says itself."""
    try:
        with safetensors.safe_open(path, framework="pt"):
            return True
    except (OSError, safetensors.SafetensorError):
        return False


def sha256_of_weights(path: Path) -> str:
    """Return the SHA-256 of a file; of a safetensors file that of its weights and their names.

    So it is the same one whatever else is said in such a file, as by which commit it was written.
    """
    if not is_whole(path):
        return sha256_of(path)
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        header.pop("__metadata__", None)
        digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def opened(path: Path) -> Iterator[TensorFile]:
    """Open the tensors of a file and leave everything else in it alone.

    Official checkpoints pickle a configuration object of another package beside the weights. Here
    the pickle may only describe tensors; whatever else it names becomes an inert placeholder, so
    nothing in the file is imported or run. Files that torch wrote before 1.6 are left to its own
    restricted unpickler.

    Raises:
        PretrainedMismatch: If the file is of no such format, is damaged, or names no tensor; also
            within the block, if a tensor is damaged.
        MachineError or OSError: If the storage fails.
    """
    try:
        is_archive = zipfile.is_zipfile(path)
        if is_safetensors(path) or (path.suffix == ".safetensors" and not is_archive):
            with safetensors.safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                yield TensorFile(path, tuple(file.keys()), metadata, file.get_tensor)
        elif is_archive:
            with zipfile.ZipFile(path) as archive:
                yield _open_archive(archive, path)
        else:
            yield _open_legacy(path)
    except OSError as error:
        if error.errno is None and type(error) is OSError:  # of safetensors, which has no numbers
            raise MachineError(f"{path}: {error}; its storage fails, so try again later") from error
        error.filename = error.filename or str(path)
        raise
    except safetensors.SafetensorError as error:
        said = begins_like(first_bytes(path))
        like = said.removeprefix(", and ")
        like = said.replace(", ", "it begins like ", 1) if like == said else like
        raise PretrainedMismatch(
            f"{path} is not a complete safetensors file: {like or error}; fetch it again, or give "
            "the command of its run again, which writes it anew"
        ) from error
    except zipfile.BadZipFile as error:
        raise PretrainedMismatch(f"{path} is damaged: {error}; fetch it again") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all that :func:`opened` opens; it raises the same."""
    with opened(path) as file:
        return {name: file.read(name) for name in file.names}


def _open_archive(archive: zipfile.ZipFile, path: Path) -> TensorFile:
    names = {name.partition("/")[2]: name for name in archive.namelist()}
    if "data.pkl" not in names:
        raise PretrainedMismatch(
            f"{path} is a zip file without data.pkl: it must be one that torch.save wrote"
        )
    num_bytes = path.stat().st_size
    if any(one.file_size > num_bytes for one in archive.infolist()):
        raise PretrainedMismatch(
            f"{path} is a zip file that unpacks to more than itself: it must be one that "
            "torch.save wrote, which packs nothing"
        )
    if "byteorder" in names and archive.read(names["byteorder"]) != b"little":
        raise PretrainedMismatch(f"{path} was written on a big-endian machine; save it again")
    try:
        content = described(archive.read(names["data.pkl"]))
        recipes = dict(_named(content, Recipe))
    except UNREADABLE as error:
        raise PretrainedMismatch(
            f"{path} has an unreadable data.pkl, fetch it again: {error}"
        ) from error
    _require_tensors(recipes, content, path)
    left = _TIMES * num_bytes + len(recipes) * SMALL

    def storage(key: str, dtype: torch.dtype) -> Tensor:
        raw = bytearray(archive.read(names[f"data/{key}"]))
        return torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)

    def read(name: str) -> Tensor:
        nonlocal left
        try:
            tensor = recipes[name].build(storage)
        except UNREADABLE as error:
            raise PretrainedMismatch(
                f"{path} has an unreadable tensor {name}, fetch it again: {error}"
            ) from error
        left -= tensor.nbytes
        if left < 0:
            raise PretrainedMismatch(
                f"{path} has {num_bytes} bytes, and its tensors, which share them, more than "
                f"{_TIMES} times as many: it must be one that torch.save wrote of a network"
            )
        return tensor

    said = content if isinstance(content, dict) else {}
    return TensorFile(path, tuple(recipes), {}, read, said)


def _open_legacy(path: Path) -> TensorFile:
    begins = first_bytes(path)
    if not begins.startswith(LEGACY_PICKLE):
        cut = begins.startswith(b"PK") and ", and is cut short if torch wrote it"
        raise PretrainedMismatch(
            f"{path} is no file of torch.save or safetensors: it begins with {begins[:16]!r}"
            f"{cut or begins_like(begins)}; fetch it again"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        tensors = dict(_named(content, Tensor))
        most = max(path.stat().st_size, SMALL)
        large = [name for name, one in tensors.items() if one.numel() * one.itemsize > most]
        if large:
            raise ValueError(f"{large[0]} is larger than the file")
    except UNREADABLE as error:
        raise PretrainedMismatch(
            f"{path} is damaged, or pickles more than tensors in the way torch did before 1.6 "
            f"({str(error).splitlines()[0]}); fetch it again, or, if you trust it, load it with "
            "torch.load(..., weights_only=False) and torch.save the state_dict alone"
        ) from error
    _require_tensors(tensors, content, path)
    return TensorFile(path, tuple(tensors), {}, tensors.__getitem__)


def _named(content: Any, kind: type[Kind]) -> Iterator[tuple[str, Kind]]:
    """Find what is of a kind in nested dictionaries, each of which is entered once."""
    entered: set[int] = set()

    def walk(part: Any, before: str) -> Iterator[tuple[str, Kind]]:
        if isinstance(part, kind):
            yield before, part
        elif isinstance(part, dict) and id(part) not in entered:
            entered.add(id(part))
            for key, value in part.items():
                yield from walk(value, f"{before}.{key}" if before else str(key))

    return walk(content, "")


def _require_tensors(tensors: Collection[str], content: Any, path: Path) -> None:
    if set(tensors) - {""}:
        return
    keys = [f"{key!r}" for key in content][:5] if isinstance(content, dict) else []
    what = "an object other than a dictionary"
    if isinstance(content, dict):
        what = f"a dictionary of {', '.join(keys)}" if keys else "an empty dictionary"
    raise PretrainedMismatch(
        f"{path} holds no tensors with names, but {what}; torch.save the model's state_dict() there"
    )


def _members(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()
