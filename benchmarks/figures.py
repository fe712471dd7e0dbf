"""How figures are said and kept."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median, quantiles, stdev


def spread(values: list[float]) -> str:
    """Say the median, the least and the most."""
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def mean_and_sd(values: Sequence[float]) -> str:
    """Say both (n - 1); a dash of none, and no deviation of one."""
    if not values:
        return "-"
    sd = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):.1f}{sd}"


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    low, middle, high = quantiles(values, n=4, method="inclusive") if values[1:] else 3 * values
    return low, middle, high


def middle_half(values: list[float], digits: int) -> str:
    """Say the median, and the quartiles behind it."""
    low, middle, high = (f"{value:.{digits}f}" for value in quartiles(values))
    return f"{middle} ({low} to {high})"


def save(path: Path, lines: list[str]) -> None:
    """Write lines of Markdown to the file that `--save` names, and say so."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"saved: {path}")
