"""Names and reasons as one line of text that every terminal and file takes."""


def printable(text: str) -> str:
    """Put a text on one line and escape the lone surrogates of names that are not UTF-8."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())
