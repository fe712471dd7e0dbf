"""The encoder that a run begins with: whether it is the same one; its sizes.

Once there is a checkpoint, the weights are in there, and the file is only compared.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch

from ssl_swin.config.model import ModelConfig
from ssl_swin.config.run import RunConfig, begins_with
from ssl_swin.config.settings import unsaid, with_values
from ssl_swin.data.pixels.decode import sides
from ssl_swin.errors import UserError, naming
from ssl_swin.files import sha256_of
from ssl_swin.models.encoder import build_encoder, family, free_sizes
from ssl_swin.models.swin_choices import all_switches
from ssl_swin.pretrained.named import file_of, find_sizes, is_there, read_name
from ssl_swin.pretrained.swin_v2 import require_windows
from ssl_swin.pretrained.tensors import sha256_of_weights
from ssl_swin.training.checkpoint_file import State

_SCALE = "pretrained_window_sizes"  # of a Swin V2's weights, whatever their name and windows
_SIZES = ("patch_size", "embed_dim", "depths", "num_heads", _SCALE)
_OF_VIT = ("class_token", "qkv_bias", "init_values", "fc_norm", "norm_eps")
_SWITCHES = ("shift", "position", "mixer", "padding", *_OF_VIT)
MODEL = tuple(f"model.{name}" for name in ("name", "img_size", "window_size", *_SIZES, *_SWITCHES))
"""The settings that an encoder knows."""
Config = TypeVar("Config", bound=RunConfig)


def fingerprint(config: RunConfig) -> str | None:
    """Return the SHA-256 of the weights of a run's encoder; None without encoder, or without file.

    Weights of timm have one in its cache.
    """
    file = _file(config)
    return None if file is None else sha256_of_weights(file)


def _file(config: RunConfig) -> Path | None:
    _, source = begins_with(config)
    file = None if source is None else file_of(source)
    return file if file is not None and file.is_file() else None


def require_same_encoder(state: State, config: RunConfig) -> None:
    """Refuse an encoder other than the one that the run of a checkpoint began with.

    Weights are compared, where there is a file and the checkpoint knows its own (up to 0.3 the
    whole file); else their paths are. Of timm's weights the same name is the same encoder, whatever
    is in a cache by now.

    Raises:
        UserError: If it is another one.
    """
    name, now = begins_with(config)
    before = state["config"].get(name)
    if now is not None and now == before and read_name(now).file is None:
        return
    known: str | None = state.get("encoder")
    file = _file(config)
    if known is None or file is None:
        what, same = "", before == now
    else:
        what = f", whose file was another one (SHA-256 {known[:12]})"
        same = known in (sha256_of_weights(file), sha256_of(file))
    if same:
        return
    raise UserError(
        f"the run began with {name}={before!r}{what}, this config says {now!r}, and weights are "
        "taken from the run's checkpoint; give it the encoder it began with, or start another run"
    )


def require_encoder(config: RunConfig) -> None:
    """Refuse the encoder of a run that begins, if it is not there, before anything is waited for.

    Raises:
        UserError: If there is no such file.
    """
    name, source = begins_with(config)
    if source is not None:
        with naming(f"{name}={source}"):
            find_sizes(source)


def with_its_model(
    config: Config, given: Collection[str], before: ModelConfig | None = None
) -> tuple[Config, tuple[str, ...]]:
    """Give a run what its encoder is: all of `model` that the user did not give.

    Where images are larger or smaller than the encoder's, windows become so, too, if that comes out
    even: as many are then side by side. `before` is the model of the stage that will make the
    encoder, where it is not there yet. Returns the config, and a line if something is new in it.

    Raises:
        UserError: If the encoder has another size than the user gave.
    """
    setting, source = begins_with(config)
    if source is None:
        if config.encoder_channels is not None:
            raise UserError(
                f"encoder_channels={config.encoder_channels} goes with {setting}, whose weights "
                "may be of other channels; give both, or leave it out"
            )
        return config, ()
    if not is_there(source):
        if before is None:
            return config, ()
        known, all_is_known = asdict(before) | _scale_of(before), True
    else:
        with naming(f"{setting}={source}"):
            found = find_sizes(source)
            if config.model.window_size is None:
                require_windows(found.architecture, source)
        known, all_is_known = found.architecture, found.card is not None
    free = {name.removeprefix("model.") for name in unsaid(config, given) & {*MODEL}}
    free |= {name for name, value in asdict(config.model).items() if value is None}
    if "in_chans" in known:
        _require_channels(config, known["in_chans"])
    switches = all_switches(known) if all_is_known and known.get("window_size") else {}
    _require_its_sizes(config, known | switches, free | {*free_sizes(str(known["name"]))})
    values = _its_sizes(config, known, free)
    if "img_size" in free:
        values["model.img_size"] = _as_given(known["img_size"])
    img_size = values.get("model.img_size", config.model.img_size)
    window, note = _window(known, img_size)
    if "window_size" in free:
        values["model.window_size"] = window
    new, notes = with_values(config, values), (*_no_other_channels(config, known.get("in_chans")),)
    if new == config:
        return config, notes
    sizes = {name: value for name, value in asdict(new.model).items() if name != "drop_path_rate"}
    told = ", ".join(f"{name}={value}" for name, value in sizes.items() if value is not None)
    return new, (f"model: {told}, as the encoder{note if 'window_size' in free else ''}", *notes)


def _scale_of(model: ModelConfig) -> dict[str, Any]:
    """Return the windows of pretraining of what a config builds, if it is a Swin V2."""
    with torch.device("meta"):  # only sizes are wanted
        sizes = build_encoder(in_chans=3, **asdict(model)).architecture()
    return {name: value for name, value in sizes.items() if name == _SCALE}


def _its_sizes(config: RunConfig, known: Mapping[str, Any], free: set[str]) -> dict[str, Any]:
    """Return the settings that say how an encoder is built.

    Another name than the encoder's stands for sizes of its own, which are compared once there is
    a model of that name.
    """
    named = config.model.name.partition(".")[0] == str(known["name"]).partition(".")[0]
    values = {"model.name": known["name"]} if "name" in free else {}
    if "name" in free or named:
        its = {name for name in (*_SIZES, *_SWITCHES) if name in free}
        values |= {f"model.{name}": as_tuples(known.get(name)) for name in its}
    if _SCALE in free and ("name" in free or named or _scale_of(config.model)):
        values[f"model.{_SCALE}"] = as_tuples(known.get(_SCALE))
    return values


def _require_its_sizes(config: RunConfig, known: Mapping[str, Any], free: set[str]) -> None:
    if "name" not in free:
        _require_its_family(config, str(known["name"]))
    for name in (*_SIZES, *_SWITCHES):
        own, its = getattr(config.model, name), as_tuples(known.get(name))
        if name not in free and its not in (own, None):
            raise UserError(
                f"model.{name}={own}, but the encoder has {its}: leave it out; only "
                "img_size, window_size and drop_path_rate may differ from the encoder's"
            )


def _require_its_family(config: RunConfig, its_name: str) -> None:
    own, its = family(config.model.name), family(its_name)
    if None not in (own, its) and own != its:
        setting, source = begins_with(config)
        raise UserError(
            f"model.name={config.model.name} is a {own}, and {setting}={source} has weights of a "
            f"{its}: leave model.name out, or give one of its family, such as {its_name}"
        )


def _require_channels(config: RunConfig, in_chans: int) -> None:
    if in_chans != len(config.data.mean) and not takes_other_channels(config, in_chans):
        raise UserError(
            f"data.mean has {len(config.data.mean)} values, but the encoder takes images of "
            f"{in_chans} channels: give data.mean and data.std {in_chans} values, or "
            "encoder_channels=repeat, average or zero, to go over to other channels"
        )


def _no_other_channels(config: RunConfig, in_chans: int | None) -> Iterator[str]:
    """Say that there is no channel to go over to, if a rule for it is given."""
    if config.encoder_channels is not None and in_chans == len(config.data.mean):
        yield (
            f"warning: without effect, so leave it out: encoder_channels={config.encoder_channels} "
            f"beside an encoder of {in_chans} channels, as the images"
        )


def takes_other_channels(config: RunConfig, in_chans: int) -> bool:
    """Whether images have other channels than the encoder, and it is said how it takes them."""
    return config.encoder_channels is not None and in_chans != len(config.data.mean)


def _window(known: Mapping[str, Any], img_size: int | tuple[int, int]) -> tuple[Any, str]:
    """Return the window for images of another size, pixels, and a remark."""
    window, now = as_tuples(known.get("window_size")), sides(img_size)
    before = sides(_as_given(known["img_size"]))
    if now == before or not isinstance(window, int):
        return window, ""
    uneven = any(window * new % old for new, old in zip(now, before, strict=True))
    if known.get("mixer") == "mlp" or uneven:  # an MLP is tied to its windows
        return window, f"; window_size={window} as for its {px(before)}"
    scaled = tuple(window * new // old for new, old in zip(now, before, strict=True))
    if scaled[0] == scaled[1]:
        told = f"; window_size={scaled[0]} for {px(now)}, as it has {window} for {px(before)}"
        return scaled[0], told
    num_stages = len(known.get("depths") or ()) or 4
    told = f"; windows of {scaled[0]} x {scaled[1]} for {px(now)}, as it has {window} for "
    return (scaled,) * num_stages, told + px(before)


def _as_given(img_size: Any) -> int | tuple[int, int]:
    """Return a size of images as one number, if both sides are equal."""
    rows, cols = (img_size, img_size) if isinstance(img_size, int) else img_size
    return rows if rows == cols else (rows, cols)


def px(size: tuple[int, int]) -> str:
    """Write a size of images."""
    return f"{size[0]} px" if size[0] == size[1] else f"{size[0]} x {size[1]} px"


def as_tuples(value: Any) -> Any:
    """Return lists, also within lists, as tuples."""
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value
