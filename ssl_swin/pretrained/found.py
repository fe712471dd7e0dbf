"""Find a network among the names of a file's tensors, whatever was wrapped around it.

DDP and torch.compile put words of their own into names, Lightning and other trainers the path to
the encoder, and a checkpoint the key of its state dict. A `Naming` says how a library names things.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssl_swin.pretrained.mismatch import PretrainedMismatch, some
from ssl_swin.pretrained.report import Report, renamed

MASK_TOKEN = "mask_token"
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_BUFFER = re.compile(r"(?:^|\.)(?:attn_mask|relative_position_index|relative_coords_table)$")
COORDINATES = "relative_coords_table"
_EMA = {"state_dict_ema", "model_ema"}
_MOST = 64  # places in a file where a network is looked for
_NOT_EMA = "ema_state_dict"  # MMEngine swaps the two when it saves: what is averaged is the other


def _as_it_is(_name: str, tensor: Tensor) -> Tensor:
    return tensor


def _nothing(_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {}


def _none(_sizes: dict[str, Any]) -> Iterator[str]:
    return iter(())


@dataclass(frozen=True)
class Naming:
    """How a library names the tensors of a network; "timm's Swin" below is its ViT's for a ViT."""

    kind: str
    """What it is called where it is told, such as "timm's Swin"."""
    stem: str
    """Name of the weight that makes tokens of patches; what stands before it is the root."""
    mark: str
    """A pattern of which one name below the root begins with a match, in no other naming."""
    ours: Callable[[str], str | tuple[str, ...] | None] | None = None
    """Name below the root -> name in timm's Swin, or `MASK_TOKEN`; None: no part of the encoder.

    Several names, if it is several tensors there: `turned` cuts them out. None instead of a
    function: there is no encoder here for such a network.
    """
    in_order: tuple[str, ...] = ()
    """Where several tensors are one in timm's Swin: what is in their names, in order of rows."""
    turned: Callable[[str, Tensor], Tensor] = _as_it_is
    """Name in timm's Swin, tensor of the file -> the same with its channels in timm's order."""
    added: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = _nothing
    """Tensors under timm's names -> those that the network needs no weights for."""
    remark: str = ""
    """What is told of them."""
    also: str = ""
    """Another pattern as `mark`, where it takes two names to tell a naming from others."""
    is_v2: bool = False
    """Whether it is of a Swin V2, which has coordinates among its buffers and no tables."""
    sizes: Callable[[Mapping[str, Tensor], Mapping[str, Any]], dict[str, Any]] | None = None
    """Weights under our names, sizes that stand beside their file -> what `build_encoder` takes;
    None: those of a Swin, from the weights alone."""
    unlike: Callable[[dict[str, Any]], Iterator[str]] = _none
    """Sizes -> those of which the library has other features than encoders here, or none."""


@dataclass(frozen=True)
class Found:
    """A network among tensors: what each is called there and in timm's Swin."""

    naming: Naming
    names: dict[str, tuple[str, ...]]
    """Name in timm's Swin -> names in the file, several if their rows are one tensor's."""
    is_ours: bool
    """Whether it is the backbone of our encoder."""
    left_out: tuple[str, ...]
    """Names in the file of all other tensors, but for buffers that follow from the sizes."""
    where: str
    """What stands in the file before the network's names."""
    coordinates: Mapping[str, str]
    """Name in timm's Swin V2 of a buffer of coordinates -> its name in the file."""

    def state(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Make timm's tensors, and the mask token, of those in the file.

        Raises:
            PretrainedMismatch: If the parts of one tensor do not fit each other.
        """
        state = {}
        for ours, theirs in self.names.items():
            found = [parts[name] for name in theirs]
            try:
                whole = found[0] if len(found) == 1 else torch.cat(found)
                state[ours] = self.naming.turned(ours, whole)
            except RuntimeError as error:
                told = str(error).splitlines()[0]
                raise PretrainedMismatch(
                    f"{some(theirs)} do not make {ours}, fetch the file again: {told}"
                ) from error
        return state | self.naming.added(state)

    def report(self, kind: str, names: Mapping[str, str]) -> Report:
        """Say what is taken; `names` are those in timm's Swin -> those in the encoder."""
        pairs = (
            (one.removeprefix(self.where), names[ours])
            for ours, theirs in self.names.items()
            for one in theirs
        )
        loaded = tuple(names[ours] for ours in self.names)
        remarks = (self.naming.remark,) if self.naming.remark else ()
        return Report(
            kind, self.where, loaded, renamed(pairs), dropped=self.left_out, remarks=remarks
        )


def find(names: Iterable[str], naming: Naming) -> Found | None:
    """Find the one network of a naming among the names of tensors; None if there is none.

    Of a model and its moving average the average is taken, as timm does.

    Raises:
        PretrainedMismatch: If there are several, or two names are the same without their wrappers.

    Source:
        timm/models/_helpers.py, ``load_state_dict`` and ``clean_state_dict``.
    """
    bare = {name: _unwrapped(name) for name in names}
    roots = _roots(set(bare.values()), naming.stem)
    roots = [root for root in roots[:_MOST] if _has(bare, root, naming)]
    roots = [root for root in roots if _EMA & set(root.split("."))] or roots
    roots = [root for root in roots if _NOT_EMA not in root.split(".")] or roots
    if not roots:
        return None
    if len(roots) > 1:
        raise PretrainedMismatch(
            f"there are {len(roots)} of {naming.kind} in the file, under {some(sorted(roots))}; "
            "torch.save the state_dict() of the one that is meant alone"
        )
    root = roots[0]
    above = root.removesuffix("backbone.")
    is_ours = above != root and f"{above}{MASK_TOKEN}" in bare.values()
    taken = _taken(bare, root, naming)
    if is_ours:
        taken |= {name: (MASK_TOKEN,) for name, one in bare.items() if one == above + MASK_TOKEN}
    stem = next(name for name, one in bare.items() if one == root + naming.stem)
    where = stem.removesuffix(naming.stem)
    return Found(
        naming,
        _together(taken, naming),
        is_ours,
        tuple(name for name in bare if name not in taken and not _BUFFER.search(name)),
        where.removesuffix("backbone.") if is_ours else where,
        _coordinates(bare, root, naming) if naming.is_v2 else {},
    )


def _roots(there: set[str], stem: str) -> list[str]:
    return [name.removesuffix(stem) for name in there if f".{name}".endswith(f".{stem}")]


def _has(bare: Mapping[str, str], root: str, naming: Naming) -> bool:
    marks = (re.compile(re.escape(root) + one) for one in (naming.mark, naming.also) if one)
    return all(any(map(mark.match, bare.values())) for mark in marks)


def _taken(bare: Mapping[str, str], root: str, naming: Naming) -> dict[str, tuple[str, ...]]:
    """Return name in the file -> its names in timm's Swin."""
    below = {name: one.removeprefix(root) for name, one in bare.items() if one.startswith(root)}
    found = {name: _names(naming, one) for name, one in below.items() if not _BUFFER.search(one)}
    return {name: ours for name, ours in found.items() if ours}


def _names(naming: Naming, name: str) -> tuple[str, ...]:
    ours = None if naming.ours is None else naming.ours(name)
    return (ours,) if isinstance(ours, str) else ours or ()


def _coordinates(bare: Mapping[str, str], root: str, naming: Naming) -> dict[str, str]:
    there = (name for name, one in bare.items() if one.startswith(root))
    buffers = [name for name in there if bare[name].endswith(COORDINATES)]
    return {one: name for name in buffers for one in _names(naming, bare[name].removeprefix(root))}


def _together(taken: Mapping[str, tuple[str, ...]], naming: Naming) -> dict[str, tuple[str, ...]]:
    """Return name in timm's Swin -> names in the file, in order."""

    def place(name: str) -> int:
        words = naming.in_order
        return next((number for number, word in enumerate(words) if word in name), len(words))

    together: dict[str, list[str]] = {}
    for name, several in taken.items():
        for ours in several:
            together.setdefault(ours, []).append(name)
    for same in together.values():
        places = [place(name) for name in same]
        if len(same) > 1 and len({*places, len(naming.in_order)}) <= len(same):
            raise PretrainedMismatch(
                f"two tensors of the file are one of {naming.kind}, leave one out: {some(same)}"
            )
    return {ours: tuple(sorted(same, key=place)) for ours, same in together.items()}


def _unwrapped(name: str) -> str:
    return ".".join(word for word in name.split(".") if word not in _WRAPPERS)
