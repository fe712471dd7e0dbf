"""How figures are said and kept."""

from pathlib import Path
from statistics import median


def spread(values: list[float]) -> str:
    """Say the median, the least and the most."""
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def save(path: Path, lines: list[str]) -> None:
    """Write lines of Markdown to the file that `--save` names, and say so."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"saved: {path}")
