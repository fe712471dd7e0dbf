"""What our Swin is to reach on an H100, beside what `gpu.py` found."""

from collections.abc import Callable

from gpu_day import Day, Row, shares

BASE = ("Swin-B", 192, 6, 128, "bf16")
LARGE = ("Swin-L", 192, 6, 128, "bf16")


def asked(day: Day) -> list[str]:
    """Return a table: what was asked for, what was found, whether it is met."""
    ours = fastest(day, BASE, "ours")
    timms = fastest(day, BASE, "timm", lambda how: "compiled" not in how)
    compiled = fastest(day, BASE, "timm", lambda how: "compiled" in how)
    lines = ["| asked for | found | |", "|---|---|---|"]
    lines += [
        _line("Swin-B 192/6, 128 images, bf16: 2 times timm eager", _times(ours, timms), 2),
        _line("the same: 1.2 times timm compiled", _times(ours, compiled), 1.2),
        _line("the same: 2,500 images/s", ours and shares(ours, day)["images/s"], 2500),
        _line("the same: MFU of 35 %", _share(ours, day), 35),
    ]
    large = fastest(day, LARGE, "ours")
    memory = "not measured | "
    if large is not None and large.timing is not None and large.timing.peak_bytes:
        memory = f"{large.timing.peak_bytes / 2**30:.1f} GiB: {large.case.label} | met"
    elif failed := [row for row in day.rows if _is_of(row, LARGE, "ours") and row.told]:
        memory = f"{failed[0].told}: {failed[0].case.label} | not met"
    lines.append(f"| Swin-L 192/6, 128 images, bf16: fits | {memory} |")
    lines.append(_curves(day))
    return [*lines, "", f"The fastest of ours: {ours.case.label}."] if ours else lines


def fastest(
    day: Day, what: tuple, whose: str, how: Callable[[str], bool] = lambda _: True
) -> Row | None:
    """Return the row that was timed with the most images/s."""
    fits = [
        row
        for row in day.rows
        if row.timing is not None and _is_of(row, what, whose) and how(row.case.how)
    ]
    return min(fits, key=lambda row: row.timing.step_s, default=None)  # type: ignore[union-attr]


def _is_of(row: Row, what: tuple, whose: str) -> bool:
    case = row.case
    sizes = (case.size, case.img_size, case.window_size, case.batch, case.precision)
    return sizes == what and case.whose == whose and not case.finetune


def _times(ours: Row | None, theirs: Row | None) -> float | None:
    if ours is None or theirs is None or ours.timing is None or theirs.timing is None:
        return None
    return theirs.timing.step_s / ours.timing.step_s


def _share(ours: Row | None, day: Day) -> float | None:
    share = shares(ours, day).get("mfu") if ours else None
    return None if share is None else 100 * share


def _line(what: str, found: float | None, least: float) -> str:
    if found is None:
        return f"| {what} | not measured | |"
    return f"| {what} | {found:.4g} | {'met' if found >= least else 'not met'} |"


def _curves(day: Day) -> str:
    what = "losses of 300 steps: bf16 as near to float32 as other masks are"
    if day.curves is None:
        return f"| {what} | not measured | |"
    apart, noise = day.curves.apart, day.curves.noise
    met = apart <= noise and len(day.curves.float32) >= 300
    return (
        f"| {what} | {len(day.curves.float32)} steps, {apart:.4f} apart, other masks {noise:.4f} | "
        f"{'met' if met else 'not met'} |"
    )
