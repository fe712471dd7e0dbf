"""Labels as people write them, text or values of JSON -> arrays: classes, or numbers."""

import math
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ssl_swin.data.labelling.names import classes_of
from ssl_swin.data.shards.given import MULTI, NUMBERS, SINGLE, GivenLabels

BETWEEN = ";"  # several labels in one text
_LONGEST = 1000  # characters of the name of a class


class UnusableLabel(ValueError):
    """A label that cannot be what it should be; its text says why, and is no whole sentence."""


class Values:
    """Collects labels, one sample after the other; a class is a number of its own until the end."""

    def __init__(self, task: str) -> None:
        self.task, self.texts = task, dict[str, int]()
        self._starts, self._missing = array("q", [0]), bytearray()
        self._values: Any = array("d" if task == NUMBERS else "i")
        self._width: int | None = None  # numbers of a sample

    def __len__(self) -> int:
        return len(self._missing)

    def add(self, value: Any) -> None:
        """Add the label of one sample; None, and an empty text of one class, is no label.

        Raises:
            UnusableLabel: If it is none of the task.
        """
        found = None if value is None else self._parsed(value)
        if found is not None:
            self._values.extend(found)
        self._starts.append(len(self._values))
        self._missing.append(found is None)

    def _parsed(self, value: Any) -> Sequence[float] | None:
        if isinstance(value, str):
            value = value.strip()
            if not value and self.task != MULTI:
                return None
            value = [one.strip() for one in value.split(BETWEEN)] if value else []
            if self.task == SINGLE and len(value) > 1:
                value = [BETWEEN.join(value)]  # a name may hold it
        several = value if isinstance(value, list | tuple) else [value]
        if self.task == NUMBERS:
            return self._numbers(several)
        if self.task == SINGLE and len(several) != 1:
            raise UnusableLabel(f"it is a list of {len(several)}, and a sample has one class")
        codes = [self.texts.setdefault(_text(one), len(self.texts)) for one in several]
        if len(set(codes)) < len(codes):
            raise UnusableLabel("it names a class twice")
        return codes

    def _numbers(self, several: Sequence[Any]) -> list[float]:
        try:
            found = [math.nan if isinstance(one, bool) else float(one) for one in several]
        except (ValueError, TypeError, OverflowError):
            found = [math.nan]
        if not found or not all(map(math.isfinite, found)):
            shown = _shown(several[0] if len(several) == 1 else several)
            raise UnusableLabel(f"{shown} is no finite number")
        self._width = self._width or len(found)
        if len(found) != self._width:
            raise UnusableLabel(f"it has {len(found)} numbers, and those before have {self._width}")
        return found

    def finish(
        self, known: Sequence[str] | None, where: str, file: str | None = None
    ) -> tuple[GivenLabels, list[str]]:
        """Return all labels, and what is to be said of the classes; `known` are their names.

        Raises:
            ShardError: If a label is none of the classes that are known; it names `where`.
        """
        starts, missing = np.array(self._starts, np.int64), np.frombuffer(self._missing, np.bool_)
        if self.task == NUMBERS:
            numbers = np.array(self._values, np.float64)
            return GivenLabels(self.task, starts, numbers, missing, None, file), []
        codes = np.array(self._values, np.int32)
        if not self.texts:
            return GivenLabels(self.task, starts, codes, missing, tuple(known or ()), file), []
        counts = np.bincount(codes, minlength=len(self.texts)).tolist()
        occurs = Counter(dict(zip(self.texts, counts, strict=True)))
        names, number, said = classes_of(occurs, known, where)
        values = np.array([number[text] for text in self.texts], np.int32)[codes]
        return GivenLabels(self.task, starts, values, missing, tuple(names), file), said


def _text(value: Any) -> str:
    """Return a name, or a number as text."""
    if isinstance(value, str) and 0 < len(value) <= _LONGEST:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    raise UnusableLabel(f"{_shown(value)} is neither a name nor a whole number")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
