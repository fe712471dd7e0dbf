"""Texts of labels, names or numbers -> the names of classes, and the number of each text."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from ssl_swin.data.shards.classes import listed
from ssl_swin.errors import ShardError


def classes_of(
    counts: Mapping[str, int], given: Sequence[str] | None, where: str
) -> tuple[list[str], dict[str, int], list[str]]:
    """Return the names of the classes, the number of each label, and what is to be said of them.

    Names are numbered in their order. Numbers that begin at 0, of which half or more occur, stay as
    they are; others are numbered from 0 in their order. The names that are `given` are the classes,
    in their order, and numbers their places.

    Args:
        counts: How often each label occurs.
        given: The classes, if they are known.
        where: What errors call what has the labels.

    Raises:
        ShardError: If a label is none of the classes that are given.
    """
    texts = sorted(counts)
    numbers = _whole(texts)
    if given is not None:
        if numbers is None or set(texts) <= set(given):
            numbers = {name: place for place, name in enumerate(given)}
        wrong = [text for text in texts if not 0 <= numbers.get(text, -1) < len(given)]
        if wrong:
            raise ShardError(
                f"{where} has {sum(counts[text] for text in wrong):,} labels that are none of the "
                f"{len(given)} given classes: {listed(wrong)}; mend them, or name them all"
            )
        return list(given), {text: numbers[text] for text in texts}, []
    if numbers is None:
        return texts, {text: place for place, text in enumerate(texts)}, []
    used = sorted(set(numbers.values()))
    if used[0] == 0 and used[-1] < 2 * len(used):
        return [str(number) for number in range(used[-1] + 1)], numbers, []
    place = {number: place for place, number in enumerate(used)}
    line = f"labels {used[0]} to {used[-1]} are numbered 0 to {len(used) - 1}, in their order"
    return [str(number) for number in used], {t: place[n] for t, n in numbers.items()}, [line]


def _whole(texts: Sequence[str]) -> dict[str, int] | None:
    """Return the number that each text writes, such as 3 or 3.0; None if one writes no number."""
    numbers: dict[str, int] = {}
    for text in texts:
        with suppress(ValueError, OverflowError):
            number = float(text)
            if number.is_integer() and abs(number) < 2**53:
                numbers[text] = int(number)
    return numbers if len(numbers) == len(texts) else None
