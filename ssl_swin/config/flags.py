"""Flags are shown with hyphens and read with underscores alike; settings have underscores."""


def with_underscores(word: str) -> str:
    """Return a word as a setting is named, `--data.val_shards=x`, if it is a flag; or as it is."""
    return _flag_with(word, "-", "_")


def with_hyphens(word: str) -> str:
    """Return a word as it is to be shown, `--data.val-shards=x`, if it is a flag; or as it is."""
    return _flag_with(word, "_", "-")


def _flag_with(word: str, old: str, new: str) -> str:
    if not word.startswith("--"):
        return word
    flag, equals, value = word[2:].partition("=")
    return f"--{flag.replace(old, new)}{equals}{value}"
