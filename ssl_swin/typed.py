"""Commands as people type them: quoted for a shell, and broken into lines.

Standard library only.
"""

import shlex
from collections.abc import Iterator

WIDTH = 80  # columns of a terminal or a log, where paths allow


def typed(*words: object) -> str:
    """Return `ssl-swin` and its words, each quoted if a shell needs that."""
    return shlex.join(["ssl-swin", *map(str, words)])


def quoted(word: object) -> str:
    """Return one word, quoted if a shell needs that."""
    return shlex.quote(str(word))


def wrapped(*parts: str) -> Iterator[str]:
    """Break a command between its parts, as a shell allows it, so that it can be copied."""
    line = f"  {parts[0]}"
    for part in parts[1:]:
        if len(line) + len(part) + 3 > WIDTH:
            yield f"{line} \\"
            line = f"     {part}"
        else:
            line += f" {part}"
    yield line
