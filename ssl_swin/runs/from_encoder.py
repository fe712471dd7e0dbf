"""The encoder that a fine-tuning begins with: whether it is the same file; its colours and sizes.

Once there is a checkpoint, the weights are in there, and the file is only compared.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssl_swin.config.model import ModelConfig
from ssl_swin.config.run import FinetuneConfig, RunConfig
from ssl_swin.config.settings import unsaid, with_values
from ssl_swin.errors import UserError, usable
from ssl_swin.files import sha256_of
from ssl_swin.models.swin_choices import all_switches
from ssl_swin.pretrained.open import card_of, find_sizes
from ssl_swin.record.run_folder import encoder_file
from ssl_swin.training.checkpoint_file import State

_COLOURS = ("data.mean", "data.std")
_SIZES = ("patch_size", "embed_dim", "depths", "num_heads")
_SWITCHES = ("shift", "position", "mixer", "padding")
MODEL = tuple(f"model.{name}" for name in ("name", "img_size", "window_size", *_SIZES, *_SWITCHES))
"""The settings that an encoder knows."""


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
    before, now = state["config"].get("encoder"), getattr(config, "encoder", None)
    known: str | None = state.get("encoder")
    found = None if known is None else fingerprint(config)
    if known is None or found is None:
        what, same = "", before == now
    else:
        what, same = f", whose file was another one (SHA-256 {known[:12]})", found == known
    if same:
        return
    raise UserError(
        f"the run began with encoder={before!r}{what}, this config says {now!r}, and weights are "
        "taken from the run's checkpoint; give it the encoder it began with, or start another run"
    )


def with_its_colours(
    config: RunConfig, given: Collection[str], state: State | None
) -> tuple[RunConfig, tuple[str, ...]]:
    """Give a fine-tuning the mean and standard deviation that its encoder was trained with.

    They are those on the encoder's card, or, of a run that goes on, those it began with. Weights
    from elsewhere have no card, and other channels have their own. RandAugment, which is for RGB,
    is left out of grey images if the user did not ask for it. Returns the config, and a line if
    there is something new in it.

    Raises:
        UserError: If the user gave others than are on the card.
    """
    file = _file(config)
    if file is None:
        return config, ()
    free = unsaid(config, given) & {*_COLOURS}
    if state is not None:
        values = {name: tuple(state["config"][name]) for name in free}
        return with_values(config, values | _without_colours(config, given, values)), ()
    card = card_of(file) if file.is_file() else None
    if card is None:
        return config, ()
    wanted = dict(zip(_COLOURS, (card.mean, card.std), strict=True))
    own = dict(zip(_COLOURS, (config.data.mean, config.data.std), strict=True))
    if _takes_other_channels(config, len(card.mean)):
        return config, ()
    if any(own[name] != wanted[name] for name in {*_COLOURS} - free):
        raise UserError(
            f"data.mean={own['data.mean']} and data.std={own['data.std']}, but the encoder was "
            f"trained with {card.mean} and {card.std}: leave both out, to take those, or give those"
        )
    if own == wanted:
        return config, ()
    line = f"data.mean={card.mean} and data.std={card.std}, as the encoder was trained with"
    values = {name: wanted[name] for name in free}
    grey = _without_colours(config, given, values)
    line += "; no RandAugment, which is for RGB" if grey else ""
    return with_values(config, values | grey), (line,)


def _without_colours(
    config: RunConfig, given: Collection[str], values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what leaves RandAugment out, if images become grey and nobody asked for it."""
    is_grey, name = len(values.get("data.mean", config.data.mean)) == 1, "data.rand_augment"
    return {name: ""} if is_grey and name in unsaid(config, given) else {}


def require_encoder(config: RunConfig) -> None:
    """Refuse the encoder of a run that begins, if it is not there, before anything is waited for.

    Raises:
        UserError: If there is no such file.
    """
    if isinstance(config, FinetuneConfig) and config.encoder is not None:
        with usable(f"encoder={config.encoder}"):
            find_sizes(Path(config.encoder))


def with_its_model(
    config: FinetuneConfig, given: Collection[str], before: ModelConfig | None = None
) -> tuple[FinetuneConfig, tuple[str, ...]]:
    """Give a fine-tuning what its encoder is: all of `model` that the user did not give.

    Where images are larger or smaller than the encoder's, windows become so, too, if that comes out
    even: as many are then side by side. `before` is the model of the stage that will make the
    encoder, where it is not there yet. Returns the config, and a line if something is new in it.

    Raises:
        UserError: If the encoder has another size than the user gave.
    """
    if config.encoder is None:
        return config, ()
    file = _file(config)
    if file is None or not file.is_file():
        if before is None:
            return config, ()
        known, all_is_known = asdict(before), True
    else:
        with usable(f"encoder={config.encoder}"):
            found = find_sizes(Path(config.encoder))
        known, all_is_known = found.architecture, found.card is not None
    free = {name.removeprefix("model.") for name in unsaid(config, given) & {*MODEL}}
    free |= {name for name, value in asdict(config.model).items() if value is None}
    if "in_chans" in known:
        _require_channels(config, known["in_chans"])
    _require_its_sizes(config, known | (all_switches(known) if all_is_known else {}), free)
    values = _its_sizes(config, known, free)
    if "img_size" in free:
        values["model.img_size"] = _side(known["img_size"])
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


def _its_sizes(config: FinetuneConfig, known: Mapping[str, Any], free: set[str]) -> dict[str, Any]:
    """Return the settings that say how an encoder is built.

    Another name than the encoder's stands for sizes of its own, which are compared once there is
    a model of that name.
    """
    named = config.model.name.partition(".")[0] == str(known["name"]).partition(".")[0]
    values = {"model.name": known["name"]} if "name" in free else {}
    if "name" in free or named:
        its = {name for name in (*_SIZES, *_SWITCHES) if name in free}
        values |= {f"model.{name}": _typed(known.get(name)) for name in its}
    return values


def _require_its_sizes(config: FinetuneConfig, known: Mapping[str, Any], free: set[str]) -> None:
    for name in (*_SIZES, *_SWITCHES):
        own, its = getattr(config.model, name), _typed(known.get(name))
        if name not in free and its not in (own, None):
            raise UserError(
                f"model.{name}={own}, but the encoder has {its}: leave it out; only "
                "img_size, window_size and drop_path_rate may differ from the encoder's"
            )


def _require_channels(config: FinetuneConfig, in_chans: int) -> None:
    if in_chans != len(config.data.mean) and not _takes_other_channels(config, in_chans):
        raise UserError(
            f"data.mean has {len(config.data.mean)} values, but the encoder takes images of "
            f"{in_chans} channels: give data.mean and data.std {in_chans} values, or "
            "encoder_channels=repeat, average or zero, to go over to other channels"
        )


def _takes_other_channels(config: RunConfig, in_chans: int) -> bool:
    """Whether images have other channels than the encoder, and it is said how it takes them."""
    rule = config.encoder_channels if isinstance(config, FinetuneConfig) else None
    return rule is not None and in_chans != len(config.data.mean)


def _window(known: Mapping[str, Any], now: int) -> tuple[Any, str]:
    """Return the window for images of another side, pixels, and a remark."""
    window, before = _typed(known.get("window_size")), _side(known["img_size"])
    if now == before or not isinstance(window, int):
        return window, ""
    if known.get("mixer") == "mlp" or window * now % before:  # an MLP is tied to its windows
        return window, f"; window_size={window} as for its {before} px"
    scaled = window * now // before
    return scaled, f"; window_size={scaled} for {now} px, as it has {window} for {before} px"


def _side(img_size: Any) -> int:
    """Return the side of square images; of others the longer one."""
    return img_size if isinstance(img_size, int) else max(img_size)


def _typed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _file(config: RunConfig) -> Path | None:
    if not isinstance(config, FinetuneConfig) or config.encoder is None:
        return None
    return encoder_file(Path(config.encoder))
