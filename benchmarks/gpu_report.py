"""What `gpu.py` found, as a page and a plot."""

import platform
import re
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gpu_asked import asked
from gpu_day import Day, Row, hardware, shares
from gpu_plot import bars
from gpu_steps import WARMUP
from machine import commit, num_cores, processor

TITLES = {
    "profile": "Where the time goes",
    "curves": "Losses in bf16 and in float32",
    "attention": "Attention within windows",
    "loader": "From the loader to the device",
}
PACKAGES = ("torch", "torchvision", "timm", "pytorch-lightning", "triton", "transformers")


def report(day: Day) -> list[str]:
    """Return the page."""
    lines = [
        f"# Train steps on {hardware(day.device)}",
        "",
        f"Commit {commit()}, {date.today().isoformat()}. To repeat: `make bench-gpu`. "
        f"{processor()}, {num_cores()} cores; Python {platform.python_version()}, "
        f"{', '.join(_versions())}.",
        "",
        *_limits(day),
        "",
        "## What was asked for",
        "",
        *asked(day),
        "",
        "## Steps",
        "",
        "| step | images/s | ms | first step, s | peak, GiB | MFU | of matrix peak | of memory |",
        "|---|---|---|---|---|---|---|---|",
        *(_line(row, day) for row in day.rows),
        "",
        *_assumptions(),
    ]
    for name, section in day.sections.items():
        lines += ["", f"## {TITLES[name]}", "", *section]
    if day.left_out:
        lines += ["", "## Not measured", "", *(f"- {one}" for one in day.left_out)]
    return lines


def write(day: Day, out: Path | None) -> list[Path]:
    """Write the page and the plot, if somewhere is given; return where they are."""
    if out is None:
        return []
    slug = re.sub(r"[^a-z0-9]+", "-", hardware(day.device).lower()).strip("-")
    page = out / f"gpu_{slug}_{date.today().isoformat()}.md"
    plot = page.with_suffix(".svg")
    out.mkdir(parents=True, exist_ok=True)
    drawn = []
    for row in day.rows:
        if row.timing is not None:
            found = shares(row, day)
            value, matrix = found["images/s"], found.get("matrix")
            assert value is not None
            behind = f"{value:.0f}" + (f", {100 * matrix:.0f} %" if matrix else "")
            drawn.append((row.case.label, row.case.whose, value, behind))
    plot.write_text(bars(f"Train steps on {hardware(day.device)}", drawn), encoding="utf-8")
    text = "\n".join([*report(day), "", f"![images/s]({plot.name})", ""])
    page.write_text(text, encoding="utf-8")
    return [page, plot]


def _versions() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return found


def _limits(day: Day) -> list[str]:
    teras = {name: f"{(value or 0) / 1e12:.3g}" for name, value in day.limits.items()}
    published = f"{teras['published']} TFLOP/s" if day.limits["published"] else "not known here"
    transfer = day.limits["transfer"]
    return [
        f"- matrix products, measured: bf16 {teras['bf16']}, TF32 {teras['tf32']}, float32 "
        f"{teras['fp32']} TFLOP/s; bf16 of the data sheet: {published}",
        f"- memory, measured by a copy, read and written: {teras['memory']} TB/s; from pinned "
        f"memory of the machine: {f'{transfer / 1e9:.1f} GB/s' if transfer else 'no device'}",
    ]


def _assumptions() -> list[str]:
    return [
        "- A step is everything from uint8 images on the device to new weights. "
        f"{WARMUP} at the start are not counted; the first, which compiles, is told apart.",
        "- Ours is the real step, in the Trainer. timm's and Hugging Face's get float images and "
        "ready masks; their AdamW is fused, too. The official style copies both in each step, "
        "in fp16 with loss scaling, and waits for its loss.",
        "- MFU: FLOPs of products and attention that the network needs, counted by torch on a step "
        "neither fused nor checkpointed, over the data sheet's peak. Of matrix peak: the same over "
        "the measured peak of the row's precision.",
        "- Of memory: bytes that operations of our uncompiled step read and write, each operand "
        "once and no cache helping, over the measured copy. What is compiled moves less, so its "
        "share is too large.",
        "- Peak is of allocated memory: weights, gradients and optimiser included.",
    ]


def _line(row: Row, day: Day) -> str:
    if row.timing is None:
        return f"| {row.case.label} | {row.told} | | | | | | |"
    timing, found = row.timing, shares(row, day)
    peak = "" if timing.peak_bytes is None else f"{timing.peak_bytes / 2**30:.1f}"
    used = [found.get(name) for name in ("mfu", "matrix", "memory")]
    parts = " | ".join("" if part is None else f"{100 * part:.0f} %" for part in used)
    return (
        f"| {row.case.label} | {found['images/s']:.1f} | {1000 * timing.step_s:.1f} | "
        f"{timing.first_s:.1f} | {peak} | {parts} |"
    )
