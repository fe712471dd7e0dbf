"""Read the tensors of a file, without running what it pickles."""

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import torch
from torch import Tensor

from ssl_swin.errors import MachineError
from ssl_swin.pretrained.mismatch import PretrainedMismatch

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")
_PICKLE = b"\x80\x02"  # how a file of torch before 1.6 begins: a pickle of protocol 2
Kind = TypeVar("Kind")
# What unpickling, or torch, can raise on a file that says something impossible.
_UNREADABLE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


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


def is_tensor_file(path: Path) -> bool:
    """Say whether a file looks like one of tensors: by its first bytes, or by its name."""
    if path.suffix in _SUFFIXES:
        return True
    begins = _first_bytes(path)
    return begins.startswith(_PICKLE) or (
        zipfile.is_zipfile(path) and any(name.endswith("/data.pkl") for name in _members(path))
    )


def is_whole(path: Path) -> bool:
    """Say whether there is such a safetensors file, as long as it says itself."""
    try:
        with safetensors.safe_open(path, framework="pt"):
            return True
    except (OSError, safetensors.SafetensorError):
        return False


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
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                yield TensorFile(path, tuple(file.keys()), metadata, file.get_tensor)
        elif zipfile.is_zipfile(path):
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
        raise PretrainedMismatch(
            f"{path} is not a complete safetensors file: {error}; fetch it again, or give the "
            "command of its run again, which writes it anew"
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
    if "byteorder" in names and archive.read(names["byteorder"]) != b"little":
        raise PretrainedMismatch(f"{path} was written on a big-endian machine; save it again")
    try:
        content = _TensorUnpickler(io.BytesIO(archive.read(names["data.pkl"]))).load()
        recipes = dict(_named(content, _Recipe))
    except _UNREADABLE as error:
        raise PretrainedMismatch(
            f"{path} has an unreadable data.pkl, fetch it again: {error}"
        ) from error
    _require_tensors(recipes, content, path)

    def storage(key: str, dtype: torch.dtype) -> Tensor:
        raw = bytearray(archive.read(names[f"data/{key}"]))
        return torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)

    def read(name: str) -> Tensor:
        try:
            return recipes[name].build(storage)
        except _UNREADABLE as error:
            raise PretrainedMismatch(
                f"{path} has an unreadable tensor {name}, fetch it again: {error}"
            ) from error

    return TensorFile(path, tuple(recipes), {}, read)


def _open_legacy(path: Path) -> TensorFile:
    begins = _first_bytes(path)
    if not begins.startswith(_PICKLE):
        cut = begins.startswith(b"PK") and ", and is cut short if torch wrote it"
        raise PretrainedMismatch(
            f"{path} is no file of torch.save or safetensors: it begins with {begins[:16]!r}"
            f"{cut or ''}; fetch it again"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        tensors = dict(_named(content, Tensor))
    except _UNREADABLE as error:
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


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def _members(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


class _Inert:
    """Stands for anything a pickle names: can be called, filled and updated, and does nothing."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def __call__(self, *_args: Any, **_kwargs: Any) -> "_Inert":
        return self

    __setstate__ = __setitem__ = append = extend = add = update = __call__


class _Recipe(_Inert):
    """What a pickle says about a tensor, not yet believed."""

    def __init__(self, *described: Any) -> None:
        self.described = described

    def build(self, storage: Any) -> Tensor:
        """Make the tensor: torch refuses sizes and strides that leave the storage."""
        (key, dtype), offset, size, stride = self.described[:4]
        if any(number < 0 for number in (offset, *size, *stride)):
            raise ValueError(f"a negative size, stride or offset in storage {key}")
        if not math.prod(size):
            return torch.empty(size, dtype=dtype)
        return storage(key, dtype).as_strided(size, stride, offset).clone()


def _parameter(data: Any, *_rest: Any) -> Any:
    """Take a parameter for the tensor that it is."""
    return data


class _Dict(collections.OrderedDict[Any, Any]):
    """A mapping whose pickled attributes are left out."""

    def __setstate__(self, _state: Any) -> None:
        pass


class _TensorUnpickler(pickle.Unpickler):
    """Understand tensors and plain containers; replace everything else by a placeholder."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of our own classes, never an imported one."""
        if (module, name) == ("collections", "OrderedDict"):
            return _Dict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Recipe
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        return _Inert

    def persistent_load(self, pid: Any) -> Any:
        """Note which storage is meant; it is read only when its tensor is built."""
        kind, dtype, key, *_ = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"an unknown kind of storage, {kind!r}")
        return str(key), dtype
