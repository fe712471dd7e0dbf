"""The channels that a run takes of its files, by name where its shards name them.

Names are settled when a run begins. So each of its sets, and of those that its network is shown
later, may have its channels in an order of its own.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ssl_swin.config.data import DataConfig
from ssl_swin.config.run import RunConfig
from ssl_swin.config.settings import with_values
from ssl_swin.data.pixels.channels import CHANNELS_NAME, Channels, Names, as_names
from ssl_swin.data.pixels.decode import Bands, Reading
from ssl_swin.data.shards.channel_names import channel_names_of
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import UserError
from ssl_swin.pretrained.card import EncoderCard
from ssl_swin.runs.sets import RunSets
from ssl_swin.training.trainer import say

_SETTING, _WHERE = "data.channels", "the training shards"


def with_names(
    config: RunConfig, known: Names | None, stored: Mapping[str, Any] | None = None
) -> RunConfig:
    """Give a run its channels by name, where those of its training files are `known`.

    A run that goes on does as it began, which `stored`, its flattened config, says.

    Raises:
        UserError: If a channel is asked for that is not there, or not as many are named as there
            are means.
    """
    data = config.data
    if data.dtype is None:
        return config
    begun = None if stored is None else stored.get(_SETTING)
    if begun is not None and as_names(tuple(begun)) is not None and data.channels is None:
        return with_values(config, {_SETTING: tuple(begun)})
    began_without = stored is not None and (begun is None or as_names(tuple(begun)) is None)
    if known is not None and not began_without:
        channels = by_name(data.channels, known)
        if channels is not None and len(channels) != len(data.mean):
            raise UserError(
                f"{CHANNELS_NAME} of {_WHERE} names {len(known)} channels, and data.mean has "
                f"{len(data.mean)} values; choose so many by {_SETTING}"
            )
        data = replace(data, channels=channels)
    Reading.of(data, known, _WHERE)  # refuses what is not there
    return config if data == config.data else with_values(config, {_SETTING: data.channels})


def by_name(channels: Channels | None, known: Names | None) -> Channels | None:
    """Return the names of channels, or of all, where they are known.

    Raises:
        UserError: If not so many are known.
    """
    if known is None or as_names(channels) is not None:
        return channels
    numbers = range(len(known)) if channels is None else [int(one) for one in channels]
    if max(numbers) >= len(known):
        raise UserError(
            f"{_SETTING}={channels}, but {CHANNELS_NAME} names {len(known)} channels, counted from "
            "0; choose among those"
        )
    return tuple(known[number] for number in numbers)


def channel_names(data: DataConfig, sets: RunSets) -> Names | None:
    """Return the names of the channels of the training files, if they are taken as they are."""
    return None if data.dtype is None else sets.channel_names


def reading_of(data: DataConfig, shards: ShardSet, sets: RunSets) -> Reading:
    """Return how the files of a set of a run, one of its `sets`, are read.

    Raises:
        UserError: If it lacks a channel.
        ShardError: As `channel_names_of`.
    """
    if data.dtype is None:
        return Reading.of(data)
    reading, names = Reading.of(data, sets.channel_names, _WHERE), as_names(data.channels)
    if reading.bands is None or names is None:
        return reading
    where, named = shards.storage.where(0), channel_names_of(shards)
    if named is None:
        say(f"no {CHANNELS_NAME} beside {where}: its channels are taken to be in {_WHERE}' order")
    return replace(reading, bands=reading.bands.of_files(names, named, where))


def channels_of(bands: Bands | None, data: DataConfig) -> dict[str, Any]:
    """Return what cards say of channels: their numbers in the training files, and their names."""
    if bands is None:
        return {}
    shown = bands.shown
    if shown is not None and bands.channels is not None:
        shown = tuple(bands.channels[place] for place in shown)
    names = as_names(data.channels)
    return {"channels": bands.channels, "channel_names": names, "picture_channels": shown}


def channels_on(card: EncoderCard, known: Names | None) -> dict[str, Channels | None]:
    """Return the settings that take of other files what is on a card, by name where they have any.

    `known` names the channels of those files; None where they are taken to be in the card's order.
    """
    names, numbers, shown = card.channel_names, card.channels, card.picture_channels
    if names is None or numbers is None or known is None:
        return {_SETTING: numbers, "data.picture_channels": shown}
    named = None if shown is None else tuple(names[numbers.index(one)] for one in shown)
    return {_SETTING: names, "data.picture_channels": named}
