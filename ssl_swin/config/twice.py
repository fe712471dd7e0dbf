"""Keys that stand twice in one mapping of YAML, of which its reader takes the last in silence."""

from collections.abc import Iterator
from typing import Any


def keys_twice(text: str) -> Iterator[str]:
    """Yield where a key stands for the second time, as `heads[0].stage`.

    Raises:
        yaml.YAMLError: If it is not YAML.
    """
    import yaml  # late, for speed

    yield from _of(yaml.compose(text, Loader=yaml.SafeLoader), "")


def _of(node: Any, place: str) -> Iterator[str]:
    if node is None or node.id == "scalar":
        return
    if node.id == "sequence":
        for number, item in enumerate(node.value):
            yield from _of(item, f"{place}[{number}]")
        return
    found = set[str]()
    for key, value in node.value:
        inner = f"{place}.{key.value}" if place else str(key.value)
        if key.id == "scalar" and key.value in found:
            yield inner
        found |= {key.value} if key.id == "scalar" else set()
        yield from _of(value, inner)
