"""The encoder that a run begins with: whether it is the same file; its colours and sizes.

Once there is a checkpoint, the weights are in there, and the file is only compared.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch

from ssl_swin.config.model import ModelConfig
from ssl_swin.config.run import RunConfig, begins_with
from ssl_swin.config.settings import unsaid, with_values
from ssl_swin.data.pixels.decode import sides
from ssl_swin.errors import UserError, usable
from ssl_swin.files import sha256_of
from ssl_swin.models.encoder import build_encoder, free_sizes
from ssl_swin.models.swin_choices import all_switches
from ssl_swin.pretrained.card import BANDS
from ssl_swin.pretrained.open import card_of, find_sizes
from ssl_swin.pretrained.swin_v2 import require_windows
from ssl_swin.record.run_folder import encoder_file
from ssl_swin.runs.channels import by_name, channels_on
from ssl_swin.runs.sets import RunSets
from ssl_swin.training.checkpoint_file import State

_COLOURS, _BANDS = ("data.mean", "data.std"), tuple(f"data.{name}" for name in BANDS)
_NUMBERS, _SHOWN = (*_COLOURS, *_BANDS), "data.picture_channels"
_CHANNELS = "data.channels"
_SCALE = "pretrained_window_sizes"  # of a Swin V2's weights, whatever their name and windows
_SIZES = ("patch_size", "embed_dim", "depths", "num_heads", _SCALE)
_OF_VIT = ("class_token", "qkv_bias", "init_values", "fc_norm", "norm_eps")
_SWITCHES = ("shift", "position", "mixer", "padding", *_OF_VIT)
MODEL = tuple(f"model.{name}" for name in ("name", "img_size", "window_size", *_SIZES, *_SWITCHES))
"""The settings that an encoder knows."""
Config = TypeVar("Config", bound=RunConfig)


def fingerprint(config: RunConfig) -> str | None:
    """Return the SHA-256 of the file of a run's encoder; None without encoder, or without file."""
    file = _file(config)
    return sha256_of(file) if file is not None and file.is_file() else None


def require_same_encoder(state: State, config: RunConfig) -> None:
    """Refuse an encoder other than the one that the run of a checkpoint began with.

    Files are compared, where there is one and the checkpoint knows its own; else their paths are.

    Raises:
        UserError: If it is another one.
    """
    name, now = begins_with(config)
    before = state["config"].get(name)
    known: str | None = state.get("encoder")
    found = None if known is None else fingerprint(config)
    if known is None or found is None:
        what, same = "", before == now
    else:
        what, same = f", whose file was another one (SHA-256 {known[:12]})", found == known
    if same:
        return
    raise UserError(
        f"the run began with {name}={before!r}{what}, this config says {now!r}, and weights are "
        "taken from the run's checkpoint; give it the encoder it began with, or start another run"
    )


def with_its_numbers(
    config: RunConfig, given: Collection[str], state: State | None, sets: RunSets | None = None
) -> tuple[RunConfig, tuple[str, ...]]:
    """Give a run the mean and deviation that its encoder was trained with, and its bands.

    They are those on the encoder's card, or, of a run that goes on, those it began with. Weights
    from elsewhere have no card, and other channels have their own. RandAugment, for RGB, is left
    out of other images unless it was asked for. Channels that both the `sets` and the card name are
    meant by name. Returns the config, and a line if something in it is new.

    Raises:
        UserError: If the user gave others than are on the card.
    """
    file = _file(config)
    if file is None:
        return config, ()
    free = unsaid(config, given) & {*_NUMBERS, _SHOWN}
    if state is not None:
        values = {name: _typed(state["config"].get(name)) for name in free}
        return with_values(config, values | _without_colours(config, given, values)), ()
    card = card_of(file) if file.is_file() else None
    if card is None:
        return config, ()
    if _takes_other_channels(config, len(card.mean)):
        return config, ()
    known = None if sets is None or card.channel_names is None else sets.channel_names
    wanted: dict[str, Any] = {name: getattr(card, name.removeprefix("data.")) for name in _NUMBERS}
    own = {name: getattr(config.data, name.removeprefix("data.")) for name in (*_NUMBERS, _SHOWN)}
    wanted |= channels_on(card, known) | ({} if _SHOWN in free else {_SHOWN: own[_SHOWN]})
    own |= {_CHANNELS: by_name(own[_CHANNELS], known)}
    others = [name for name in _NUMBERS if name not in free and own[name] != wanted[name]]
    if {*others} & {*_COLOURS}:
        raise UserError(
            f"data.mean={own['data.mean']} and data.std={own['data.std']}, but the encoder was "
            f"trained with {card.mean} and {card.std}: leave both out, to take those, or give those"
        )
    if others:
        raise UserError(
            f"{others[0]}={own[others[0]]}, but the encoder was trained with {wanted[others[0]]}: "
            "leave it out, to take that"
        )
    if own == wanted:
        return config, ()
    line = _told(wanted, card.channel_names is not None and not known)
    values = {name: wanted[name] for name in free}
    plain = _without_colours(config, given, values)
    line += ", as the encoder was trained with" + "; no RandAugment, which is for RGB" * bool(plain)
    return with_values(config, values | plain), (line,)


def _told(wanted: Mapping[str, Any], is_unnamed: bool) -> str:
    """Say what an encoder was trained with, and whether nobody names the channels of these sets."""
    told = [f"{name}={wanted[name]}" for name in _COLOURS]
    told += [f"{name}={wanted[name]}" for name in _BANDS if wanted[name] is not None]
    return " and ".join(told) + " (no channels.json names them here)" * is_unnamed


def _without_colours(
    config: RunConfig, given: Collection[str], values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what leaves RandAugment out, if images are not RGB and nobody asked for it."""
    is_grey, name = len(values.get("data.mean", config.data.mean)) == 1, "data.rand_augment"
    is_other = is_grey or values.get("data.dtype", config.data.dtype) is not None
    return {name: ""} if is_other and name in unsaid(config, given) else {}


def require_encoder(config: RunConfig) -> None:
    """Refuse the encoder of a run that begins, if it is not there, before anything is waited for.

    Raises:
        UserError: If there is no such file.
    """
    name, source = begins_with(config)
    if source is not None:
        with usable(f"{name}={source}"):
            find_sizes(Path(source))


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
        return config, ()
    if not encoder_file(Path(source)).is_file():
        if before is None:
            return config, ()
        known, all_is_known = asdict(before) | _scale_of(before), True
    else:
        with usable(f"{setting}={source}"):
            found = find_sizes(Path(source))
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
    new = with_values(config, values)
    if new == config:
        return config, ()
    sizes = {name: value for name, value in asdict(new.model).items() if name != "drop_path_rate"}
    told = ", ".join(f"{name}={value}" for name, value in sizes.items() if value is not None)
    return new, (f"model: {told}, as the encoder{note if 'window_size' in free else ''}",)


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
        values |= {f"model.{name}": _typed(known.get(name)) for name in its}
    if _SCALE in free and ("name" in free or named or _scale_of(config.model)):
        values[f"model.{_SCALE}"] = _typed(known.get(_SCALE))
    return values


def _require_its_sizes(config: RunConfig, known: Mapping[str, Any], free: set[str]) -> None:
    for name in (*_SIZES, *_SWITCHES):
        own, its = getattr(config.model, name), _typed(known.get(name))
        if name not in free and its not in (own, None):
            raise UserError(
                f"model.{name}={own}, but the encoder has {its}: leave it out; only "
                "img_size, window_size and drop_path_rate may differ from the encoder's"
            )


def _require_channels(config: RunConfig, in_chans: int) -> None:
    if in_chans != len(config.data.mean) and not _takes_other_channels(config, in_chans):
        raise UserError(
            f"data.mean has {len(config.data.mean)} values, but the encoder takes images of "
            f"{in_chans} channels: give data.mean and data.std {in_chans} values, or "
            "encoder_channels=repeat, average or zero, to go over to other channels"
        )


def _takes_other_channels(config: RunConfig, in_chans: int) -> bool:
    """Whether images have other channels than the encoder, and it is said how it takes them."""
    return config.encoder_channels is not None and in_chans != len(config.data.mean)


def _window(known: Mapping[str, Any], img_size: int | tuple[int, int]) -> tuple[Any, str]:
    """Return the window for images of another size, pixels, and a remark."""
    window, now = _typed(known.get("window_size")), sides(img_size)
    before = sides(_as_given(known["img_size"]))
    if now == before or not isinstance(window, int):
        return window, ""
    uneven = any(window * new % old for new, old in zip(now, before, strict=True))
    if known.get("mixer") == "mlp" or uneven:  # an MLP is tied to its windows
        return window, f"; window_size={window} as for its {_px(before)}"
    scaled = tuple(window * new // old for new, old in zip(now, before, strict=True))
    if scaled[0] == scaled[1]:
        told = f"; window_size={scaled[0]} for {_px(now)}, as it has {window} for {_px(before)}"
        return scaled[0], told
    num_stages = len(known.get("depths") or ()) or 4
    told = f"; windows of {scaled[0]} x {scaled[1]} for {_px(now)}, as it has {window} for "
    return (scaled,) * num_stages, told + _px(before)


def _as_given(img_size: Any) -> int | tuple[int, int]:
    """Return a size of images as one number, if both sides are equal."""
    rows, cols = (img_size, img_size) if isinstance(img_size, int) else img_size
    return rows if rows == cols else (rows, cols)


def _px(size: tuple[int, int]) -> str:
    return f"{size[0]} px" if size[0] == size[1] else f"{size[0]} x {size[1]} px"


def _typed(value: Any) -> Any:
    """Return lists, also within lists, as tuples."""
    return tuple(map(_typed, value)) if isinstance(value, list) else value


def _file(config: RunConfig) -> Path | None:
    _, source = begins_with(config)
    return None if source is None else encoder_file(Path(source))
