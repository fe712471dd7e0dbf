"""The numbers that images of a run begin with: mean, deviation and bands of its encoder."""

from collections.abc import Collection, Mapping
from typing import Any

from ssl_swin.config.run import RunConfig, begins_with
from ssl_swin.config.settings import unsaid, with_values
from ssl_swin.errors import UserError, naming
from ssl_swin.pretrained.card import BANDS, EncoderCard
from ssl_swin.pretrained.named import card_of, colours_of
from ssl_swin.runs.channels import by_name, channels_on
from ssl_swin.runs.from_encoder import as_tuples, takes_other_channels
from ssl_swin.runs.sets import RunSets
from ssl_swin.training.checkpoint_file import State

_COLOURS, _BANDS = ("data.mean", "data.std"), tuple(f"data.{name}" for name in BANDS)
_NUMBERS, _SHOWN = (*_COLOURS, *_BANDS), "data.picture_channels"
_CHANNELS = "data.channels"


def with_its_numbers(
    config: RunConfig, given: Collection[str], state: State | None, sets: RunSets | None = None
) -> tuple[RunConfig, tuple[str, ...]]:
    """Give a run the mean and deviation that its encoder was trained with, and its bands.

    They are those on the encoder's card, or, of a run that goes on, those it began with. Weights
    from elsewhere have no card, but perhaps a mean and a deviation, and a run may have its own;
    other channels have their own. RandAugment, for RGB, is left out of other images unless it was
    asked for. Channels that both the `sets` and the card name are meant by name. Returns the
    config, and a line if something in it is new.

    Raises:
        UserError: If the user gave others than are on the card.
    """
    setting, source = begins_with(config)
    if source is None:
        return config, ()
    free = unsaid(config, given) & {*_NUMBERS, _SHOWN}
    if state is not None:
        values = {name: as_tuples(state["config"].get(name)) for name in free}
        return with_values(config, values | _without_colours(config, given, values)), ()
    card = _card(setting, source)
    if card is None:
        return _as_theirs(config, free, source)
    if takes_other_channels(config, len(card.mean)):
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


def _card(setting: str, source: str) -> EncoderCard | None:
    with naming(f"{setting}={source}"):
        return card_of(source)


def _as_theirs(
    config: RunConfig, free: Collection[str], source: str
) -> tuple[RunConfig, tuple[str, ...]]:
    """Give a run the mean and deviation that are said of weights without a card, if any are.

    If the user gave one of the two, both stay, and a line says what the weights know.
    """
    theirs, own = colours_of(source), (config.data.mean, config.data.std)
    if theirs is None or own == theirs or len(theirs[0]) != len(own[0]):
        return config, ()
    told = f"data.mean={theirs[0]} and data.std={theirs[1]}, as {source} was trained with"
    if {*_COLOURS} <= {*free} and config.data.dtype is None:
        return with_values(config, dict(zip(_COLOURS, theirs, strict=True))), (told,)
    given = f"data.mean={own[0]} and data.std={own[1]}"
    its = f"{theirs[0]} and {theirs[1]}"
    return config, (f"{given} are kept, though {source} was trained with {its}",)


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
