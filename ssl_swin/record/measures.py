"""What is measured of held-out images: how it is called, and written, wherever a run is told of."""

from collections.abc import Mapping
from typing import NamedTuple


class Measure(NamedTuple):
    """How a number is told; `best` is what its largest is called, or "lowest", if one is kept."""

    word: str
    form: str
    unit: str = ""
    best: str = ""

    def told(self, value: float) -> str:
        """Write the number with its unit."""
        return f"{value:{self.form}}{self.unit}"


MEASURES = {
    "top1": Measure("top-1", ".2f", " %", "best"),
    "balanced_top1": Measure("balanced", ".2f", " %", "best"),
    "auroc": Measure("AUROC", ".4f", "", "best"),
    "map": Measure("mAP", ".2f", " %", "best"),
    "macro_f1": Measure("macro F1", ".2f", " %"),
    "mae": Measure("MAE", ".4g"),
    "r2": Measure("R2", ".4f", "", "best"),
    "heldout_loss": Measure("loss", ".4f", "", "lowest"),
}
"""Name in a module's `metrics` and in `summary.json` -> how it is told, in this order.

The best of it, if one is kept, is there under its name after `best_`.
"""


def heldout_told(found: Mapping[str, float | None]) -> str:
    """Say what was measured and the best of it so far, as "loss 0.4512 (lowest 0.4498)".

    The best goes unsaid where it is this one.
    """
    parts = []
    for name, measure in MEASURES.items():
        now, ever = found.get(name), found.get(f"best_{name}")
        if now is None:
            continue
        told = measure.told(now)
        if measure.best and ever is not None and measure.told(ever) != told:
            told += f" ({measure.best} {measure.told(ever)})"
        parts.append(f"{measure.word} {told}")
    return ", ".join(parts) or "nothing finite"
