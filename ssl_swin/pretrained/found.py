"""Find a Swin among the names of a file's tensors, whatever was wrapped around it.

DDP and torch.compile put words of their own into names, Lightning and other trainers the path to
the encoder, and a checkpoint the key of its state dict.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from ssl_swin.pretrained.mismatch import PretrainedMismatch, some
from ssl_swin.pretrained.tensors import TensorFile

_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_STEM = "patch_embed.proj.weight"
_TABLE = "layers.0.blocks.0.attn.relative_position_bias_table"
_BODY = ("patch_embed", "absolute_pos_embed", "layers", "norm")
_BUFFER = re.compile(r"(?:^|\.)(?:attn_mask|relative_position_index|relative_coords_table)$")
_EMA = {"state_dict_ema", "model_ema"}


@dataclass(frozen=True)
class FoundSwin:
    """A Swin among tensors: what each is called there and in a bare Swin."""

    names: dict[str, str]
    """Name in the file -> name in the Swin: ``patch_embed...``, ``layers...``, ``norm...``."""
    mask_token: str | None
    """Name in the file of SimMIM's mask token, if it is there."""
    is_ours: bool
    """Whether it is the backbone of our encoder."""
    left_out: tuple[str, ...]
    """Names in the file of all other tensors, but for buffers that follow from the sizes."""
    where: str
    """What stands in the file before the Swin's names."""

    def read(self, file: TensorFile) -> dict[str, Tensor]:
        """Read the Swin's tensors from the file, under its own names, and the mask token."""
        state = {rest: file.read(name) for name, rest in self.names.items()}
        token = self.mask_token
        return state if token is None else state | {"mask_token": file.read(token)}

    def told(self, kind: str) -> str:
        """Say in one line what of a file is taken."""
        under = f" under {self.where!r}" if self.where else ""
        out = f"{len(self.left_out)} left out" if self.left_out else "none left out"
        taken = len(self.names) + (self.mask_token is not None)
        return f"{kind}{under}, {taken} tensors taken, {out}" + (
            f" ({some(self.left_out)})" if self.left_out else ""
        )


def find_swin(names: Iterable[str]) -> FoundSwin | None:
    """Find the one Swin (version 1) among the names of tensors; None if there is none.

    Of a model and its moving average the average is taken, as timm does.

    Raises:
        PretrainedMismatch: If there are several, or two names are the same without their wrappers.

    Source:
        timm/models/_helpers.py, ``load_state_dict`` and ``clean_state_dict``.
    """
    bare = {name: _unwrapped(name) for name in names}
    there = set(bare.values())
    roots = [name.removesuffix(_STEM) for name in there if f".{name}".endswith(f".{_STEM}")]
    roots = [root for root in roots if root + _TABLE in there]
    roots = [root for root in roots if _EMA & set(root.split("."))] or roots
    if not roots:
        return None
    if len(roots) > 1:
        raise PretrainedMismatch(
            f"there are {len(roots)} Swins in the file, under {some(sorted(roots))}; torch.save "
            "the state_dict() of the one that is meant alone"
        )
    root = roots[0]
    above = root.removesuffix("backbone.")
    is_ours = above != root and f"{above}mask_token" in there
    token = f"{above if is_ours else root}mask_token"
    taken = {
        name: rest
        for name, rest in ((name, plain.removeprefix(root)) for name, plain in bare.items())
        if bare[name].startswith(root) and rest.split(".")[0] in _BODY and not _BUFFER.search(rest)
    }
    if len(set(taken.values())) < len(taken):
        raise PretrainedMismatch(
            f"two tensors of the file are one of a Swin's, leave one out: {some(taken)}"
        )
    stem = next(name for name, rest in taken.items() if rest == _STEM)
    tokens = [name for name, plain in bare.items() if plain == token]
    left = [name for name in bare if name not in taken and not _BUFFER.search(name)]
    return FoundSwin(
        taken,
        tokens[0] if tokens else None,
        is_ours,
        tuple(name for name in left if name not in tokens),
        stem.removesuffix(f"backbone.{_STEM}" if is_ours else _STEM),
    )


def _unwrapped(name: str) -> str:
    return ".".join(word for word in name.split(".") if word not in _WRAPPERS)
