"""Read the tensors of a file, without running what it pickles."""

import collections
import io
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

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


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors of a file and leave everything else in it alone.

    Official checkpoints pickle a configuration object of another package beside the weights. Here
    the pickle may only describe tensors; whatever else it names becomes an inert placeholder, so
    nothing in the file is imported or run.

    Returns:
        The tensors, on the CPU, and what a ``.safetensors`` says of itself. Any other file is in
        torch's zip format.

    Raises:
        PretrainedMismatch: If the file is in neither format, is damaged, or holds no weights.
    """
    if path.suffix == ".safetensors":
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                names = file.keys()
                return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
        except safetensors.SafetensorError as error:
            raise PretrainedMismatch(
                f"{path} is not a complete safetensors file: {error}; fetch it again"
            ) from error
    if not zipfile.is_zipfile(path):
        raise PretrainedMismatch(
            f"{path} is not in torch's zip format, which torch has written since 1.6; if you trust "
            "the file, load it with torch.load and save its 'model' again, or fetch it again"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_archive(archive, path), {}
    except zipfile.BadZipFile as error:
        raise PretrainedMismatch(f"{path} is damaged: {error}; fetch it again") from error


def _read_archive(archive: zipfile.ZipFile, path: Path) -> dict[str, Tensor]:
    names = {name.partition("/")[2]: name for name in archive.namelist()}
    if "data.pkl" not in names:
        raise PretrainedMismatch(
            f"{path} is a zip file without data.pkl: not written by torch.save"
        )
    if "byteorder" in names and archive.read(names["byteorder"]) != b"little":
        raise PretrainedMismatch(f"{path} was written on a big-endian machine; save it again")
    try:
        content = _TensorUnpickler(io.BytesIO(archive.read(names["data.pkl"]))).load()
    except _UNREADABLE as error:
        raise PretrainedMismatch(f"{path} has an unreadable data.pkl: {error}") from error
    model = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(model, dict) or not any(isinstance(v, _Recipe) for v in model.values()):
        raise PretrainedMismatch(f"{path} holds no weights, neither at the top nor under 'model'")

    def storage(key: str, dtype: torch.dtype) -> Tensor:
        raw = bytearray(archive.read(names[f"data/{key}"]))
        return torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)

    try:
        return {
            str(key): value.build(storage)
            for key, value in model.items()
            if isinstance(value, _Recipe)
        }
    except _UNREADABLE as error:
        raise PretrainedMismatch(f"{path} has an unreadable tensor: {error}") from error


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
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        return _Inert

    def persistent_load(self, pid: Any) -> Any:
        """Note which storage is meant; it is read only when its tensor is built."""
        kind, dtype, key, *_ = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"an unknown kind of storage, {kind!r}")
        return str(key), dtype
