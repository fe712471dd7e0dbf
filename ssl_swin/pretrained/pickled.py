"""What a pickle says of tensors, without running it: nothing that it names is imported or called.

What it makes is no larger than itself, as a hostile one would have it.
"""

import collections
import io
import math
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

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
_NUMBERED = {"PUT", "BINPUT", "LONG_BINPUT"}  # make a table as long as the number they name
SMALL = 2**20
"""Bytes of a tensor that may be made of fewer, as of one number that fills it."""

# What unpickling, or torch, can raise on a file that says something impossible.
UNREADABLE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


def described(raw: bytes) -> Any:
    """Return what a pickle describes: containers, plain values, and a `Recipe` of each tensor.

    Raises:
        One of UNREADABLE: If it cannot be read, or asks for memory out of proportion.
    """
    for opcode, number, _ in pickletools.genops(raw):  # refuses what it has not as many bytes for
        if opcode.name in _NUMBERED and int(number or 0) > len(raw):
            raise pickle.UnpicklingError(f"it numbers an object {number}, and has fewer")
    return _TensorUnpickler(io.BytesIO(raw)).load()


class _Inert:
    """Stands for anything a pickle names: can be called, filled and updated, and does nothing."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def __call__(self, *_args: Any, **_kwargs: Any) -> "_Inert":
        return self

    __setstate__ = __setitem__ = append = extend = add = update = __call__


class Recipe(_Inert):
    """What a pickle says about a tensor, not yet believed."""

    def __init__(self, *described: Any) -> None:
        self.described = described

    def build(self, storage: Callable[[str, torch.dtype], Tensor]) -> Tensor:
        """Make the tensor: torch refuses sizes and strides that leave the storage."""
        (key, dtype), offset, size, stride = self.described[:4]
        if any(number < 0 for number in (offset, *size, *stride)):
            raise ValueError(f"a negative size, stride or offset in storage {key}")
        if not math.prod(size):
            return torch.empty(size, dtype=dtype)
        stored = storage(key, dtype)
        if math.prod(size) > max(stored.numel(), SMALL // dtype.itemsize):
            raise ValueError(f"{math.prod(size)} numbers of {stored.numel()} in storage {key}")
        return stored.as_strided(size, stride, offset).clone()


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
            return Recipe
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
