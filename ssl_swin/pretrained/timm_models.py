"""Any model of timm as a frozen network, with weights that timm has or that lie in a file."""

import difflib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from huggingface_hub import try_to_load_from_cache  # timm needs it, and fetches by it
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from ssl_swin.data.pixels.crop import INTERPOLATION
from ssl_swin.errors import MachineError, UserError, usable
from ssl_swin.phases import Phase
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.tensors import read_tensors

# What trainers name the weights in a checkpoint, the first that is there: as timm looks for them.
_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model")
_OF_HUB = ("model.safetensors", "pytorch_model.bin")  # as timm looks for them
_WRAPPERS = ("module.", "_orig_mod.")
_CENTRE, _BICUBIC = "center", "bicubic"  # timm's words


@dataclass(frozen=True)
class TimmModel:
    """A model of timm without head, and what images have to be for it."""

    model: nn.Module
    img_size: int  # height and width in pixels
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float
    interpolation: str
    told: str


def open_timm(
    name: str, file: Path | None = None, img_size: int | None = None, trained: bool = True
) -> TimmModel:
    """Build a model of timm and give it its weights, in float32, on the CPU.

    Args:
        name: As of ``timm.list_models()``, perhaps with a dot and the tag of pretrained weights.
        file: Weights, as a `.safetensors` or a file of `torch.save`, under timm's names or those
            that timm knows how to convert; None for those that timm has in its cache or fetches.
        img_size: In pixels, if not that of the weights.
        trained: Whether it gets weights; else they are as timm draws them.

    Raises:
        UserError: If timm has no such model, or no weights of it; or the file does not fit it.
        MachineError: If timm's weights are not in its cache and cannot be fetched.
    """
    theirs = config_of(name, trained and file is None)
    how: dict[str, Any] = {"num_classes": 0}
    if img_size is not None and theirs is not None and theirs.fixed_input_size:
        how["img_size"] = img_size
    if not trained:
        model = _created(name, **how)
    elif file is None:
        model = _fetched(name, how)
    else:
        model = _from_file(name, file, theirs and theirs.classifier, how)
    return _described(model.float(), name, img_size)


def config_of(name: str, with_weights: bool) -> Any:
    """Return what timm knows of the weights of a model, its `PretrainedCfg`, and fetch nothing.

    Raises:
        UserError: If timm has no such model, or no weights of it and it is to have some.
    """
    if not timm.is_model(name):
        known = timm.list_models()
        nearest = difflib.get_close_matches(name.partition(".")[0], known, n=3)
        meant = f": the nearest are {', '.join(nearest)}" if nearest else ""
        raise UserError(f"timm:{name} is none of timm's {len(known)} models, give another{meant}")
    try:
        theirs = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # the tag
        tags = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        raise UserError(f"timm has no weights of {name}; it has {', '.join(tags)}") from error
    if with_weights and not (theirs and theirs.has_weights):
        raise UserError(
            f"timm has no weights of {name}: give them as a file, timm:{name}:FILE, or another name"
        )
    return theirs


def cached_file(name: str) -> Path | None:
    """Return the file of the weights that timm has under a name, if it is in the cache."""
    theirs = config_of(name, True)
    names = (theirs.hf_hub_filename,) if theirs.hf_hub_filename else _OF_HUB
    for one in names if theirs.hf_hub_id else ():
        place = try_to_load_from_cache(theirs.hf_hub_id, one)
        if isinstance(place, str):
            return Path(place)
    return None


def require_file(name: str, file: Path) -> None:
    """Refuse a file of weights of a model that is not there.

    Raises:
        UserError: If it is not.
    """
    if not file.is_file():
        raise UserError(f"{file}: there is no such file; give weights of timm's {name}")


def _created(name: str, **how: Any) -> nn.Module:
    try:
        return timm.create_model(name, **how)
    except (TypeError, AssertionError, ValueError, RuntimeError) as error:
        if "img_size" not in how:
            raise
        raise UserError(
            f"timm:{name} cannot be built with {how.get('img_size')} pixels, give another img_size "
            f"or none: {' '.join(str(error).split())}"
        ) from error


def _fetched(name: str, how: Mapping[str, Any]) -> nn.Module:
    """Return a model with the weights that timm has."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)  # else it tells of each of ten tries
    try:
        with Phase(f"finding the weights of timm's {name}"):
            return _created(name, pretrained=True, **how)
    except RuntimeError as error:
        raise UserError(
            f"timm's weights of {name} do not fit it, give another name: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    except OSError as error:
        raise MachineError(
            f"the weights of timm's {name} are not in its cache and cannot be fetched "
            f"({type(error).__name__}): get them where there is a network, and give the file, "
            f"timm:{name}:FILE"
        ) from error
    finally:
        logger.setLevel(before)


def _from_file(name: str, file: Path, heads: Any, how: Mapping[str, Any]) -> nn.Module:
    """Return a model with the weights of a file, all of which it takes, but for its heads."""
    require_file(name, file)
    with usable(str(file), PretrainedMismatch):
        state = _bare(read_tensors(file))
    heads = (heads,) if isinstance(heads, str) else heads or ()
    for key in [key for key in state if key.startswith(tuple(f"{head}." for head in heads))]:
        del state[key]
    # timm converts what it knows; without classes it takes all of them strictly
    overlay = {"state_dict": state, "custom_load": False, "num_classes": 0, "source": "timm"}
    try:
        model: Any = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **how)
    except (RuntimeError, LookupError, AttributeError, TypeError, ValueError) as error:
        said = " ".join(str(error).split())
        raise PretrainedMismatch(
            f"{file} does not fit timm's {name}, give weights of it: {said[:300]}"
        ) from error
    model.pretrained_cfg.pop("state_dict")  # they are in the model
    return model


def _bare(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a model, without what trainers put around them and their names."""
    for key in _KEYS:
        if inside := {name for name in tensors if name.startswith(f"{key}.")}:
            tensors = {name.partition(".")[2]: tensors[name] for name in inside}
            break
    for wrapper in _WRAPPERS:
        tensors = {name.removeprefix(wrapper): value for name, value in tensors.items()}
    return dict(tensors)


def _described(model: Any, name: str, img_size: int | None) -> TimmModel:
    """Say what images have to be, as timm does for these weights."""
    known = resolve_model_data_config(model)
    chans, rows, cols = known["input_size"]
    if rows != cols and img_size is None:
        raise UserError(
            f"timm:{name} takes images of {rows} x {cols} pixels, and evaluation cuts squares: "
            "give an img_size"
        )
    told, interpolation = [f"timm's {name}"], known["interpolation"]
    if interpolation not in INTERPOLATION:
        told.append(f"images are resized {_BICUBIC}, not {interpolation} as timm does")
        interpolation = _BICUBIC
    if (crop := known["crop_mode"]) != _CENTRE:
        told.append(f"the centre is cut out, where timm does {crop!r}")
    if len(known["mean"]) != chans or not all(known["std"]):
        raise UserError(
            f"timm:{name} has {chans} channels, and timm no mean and deviation for them; give "
            "another model"
        )
    return TimmModel(
        model,
        rows if img_size is None else img_size,
        tuple(map(float, known["mean"])),
        tuple(map(float, known["std"])),
        float(known["crop_pct"]),
        interpolation,
        "; ".join(told),
    )
