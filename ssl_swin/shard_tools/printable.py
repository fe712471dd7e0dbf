"""Names and reasons as one line of text that every terminal and file takes."""


def printable(text: str) -> str:
    """Put a text on one line and escape what UTF-8 cannot hold.

    Args:
        text: A key, a file name or an error; names that are not UTF-8 hold lone surrogates.
    """
    escaped = text.encode("utf-8", "backslashreplace").decode()
    return " ".join(escaped.split())
