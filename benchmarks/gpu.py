"""Half an hour with a GPU: train steps of all kinds, what they leave unused, where the time goes.

The most important comes first, and what the budget does not reach is listed as not measured. Out of
memory is a row. Each row is written as it comes, so that nothing is lost with the machine. Without
a GPU everything runs at the sizes of the demo, so that nothing is missing on the day; such figures
say nothing, and are written only to `--out`.

Usage: python benchmarks/gpu.py [--budget-s 480] [--out FOLDER]
"""

import argparse
import gc
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from gpu_asked import BASE, fastest
from gpu_attention import measured, shapes
from gpu_curves import BATCH, table, train_all
from gpu_day import Counts, Day, Row
from gpu_limits import (
    copy_bandwidth,
    count_bytes,
    matrix_peak,
    published_peak,
    transfer_bandwidth,
)
from gpu_loader import time_loader
from gpu_peers import PEERS
from gpu_profile import profile_step
from gpu_report import report, write
from gpu_steps import TRACED, Case, Stopwatch, Timing, bare_step, build, time_in_trainer
from machine import num_cores

from ssl_swin.models.flops import count_flops

RESULTS = Path(__file__).parent / "results"
EAGER_S, COMPILED_S, LAST_S = 10.0, 60.0, 20.0  # what a case takes; what the end is left
SECTION_S = {"profile": 30.0, "loader": 10.0, "curves": 60.0, "attention": 45.0}
STEPS = {"cuda": 300, "cpu": 6}  # of the losses that are compared
COUNTED = (2, 4)  # images of the steps that are counted; the counts are linear in them


class OutOfTime(Exception):
    """The budget is used up in the middle of something."""


def plan(on_gpu: bool) -> Iterator[Case | str]:
    """Yield what to time, the most important first; words are other things to look at."""
    if not on_gpu:
        demo = Case("demo", 32, 4, 4, precision="fp32")
        yield from (demo, replace(demo, fused=True), replace(demo, checkpointed=True))
        yield from (replace(demo, whose=peer) for peer in PEERS)
        yield from (replace(demo, precision="bf16", fused=True), replace(demo, finetune=True))
        compiled = replace(demo, compiled=TRACED)
        yield from ("loader", "profile", "curves", compiled, replace(compiled, whose="timm"))
        return
    b192 = Case("Swin-B", 192, 6, 128)
    fused, timms = replace(b192, fused=True), replace(b192, whose="timm")
    compiled = replace(fused, compiled="default")
    sizes = [replace(fused, size=size) for size in ("Swin-T", "Swin-L")]
    # What `gpu_asked.py` asks for, and then all else.
    yield from (fused, timms, compiled, replace(timms, compiled="default"), sizes[1])
    yield from ("profile", "curves", "attention", replace(timms, fused=True), b192)
    yield replace(timms, fused=True, compiled="default")
    yield from (replace(b192, whose="official style"), replace(b192, whose="Hugging Face"))
    yield from (replace(fused, checkpointed=True), "loader", sizes[0])
    yield from (replace(fused, finetune=True), replace(fused, batch=64))
    yield from (replace(fused, batch=256), replace(compiled, batch=256))
    small = [replace(one, img_size=128, window_size=4) for one in (fused, *sizes)]
    yield from small
    tiny = replace(compiled, size="Swin-T", batch=64)
    yield from (tiny, replace(tiny, compiled="reduce-overhead"))
    yield from (replace(fused, precision=one, batch=64) for one in ("fp16", "tf32", "fp32"))
    for size in ("Swin-T", "Swin-L"):
        yield from (replace(fused, size=size, batch=batch) for batch in (64, 256))
        yield replace(b192, size=size)
        yield from (replace(b192, size=size, whose=peer) for peer in PEERS)
        yield replace(fused, size=size, batch=256, checkpointed=True)
        yield replace(fused, size=size, finetune=True)
    yield from (replace(one, batch=batch) for one in small for batch in (64, 256))
    yield from (replace(one, fused=False) for one in small)
    yield from (replace(one, compiled="default") for one in (sizes[1], small[0]))
    yield replace(b192, whose="Hugging Face", fused=True)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise OutOfTime after so many seconds."""

    def ring(*_: Any) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(0.1, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def time_case(case: Case, device: torch.device, seconds: float) -> Timing:
    """Build a case and time it; fails as its library does."""
    watch = Stopwatch(device, seconds)
    if case.whose == "ours":
        return time_in_trainer(*build(case, device), case, watch)
    step = PEERS[case.whose](case, device)
    while watch.timing is None:
        step()
        watch.tick()
    return watch.timing


def attempt(case: Case, device: torch.device, seconds: float) -> Row:
    """Time a case, whatever comes of it: nothing may end the day but its budget."""
    try:
        return Row(case, time_case(case, device, seconds))
    except torch.OutOfMemoryError:
        told = "out of memory"
    except ImportError as error:
        told = f"not measured: {error.name} is not installed"
    except OutOfTime:
        raise
    except Exception as error:
        traceback.print_exc()
        told = f"failed: {type(error).__name__}: {str(error).splitlines()[0][:120]}"
    return Row(case, told=told)


def tidy() -> None:
    """Give back what a case held."""
    gc.collect()
    torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def count(case: Case, known: dict[Case, Counts], device: torch.device) -> Counts:
    """Return what our step asks for, uncompiled; `known` keeps what was counted before."""
    key = replace(
        case, batch=1, whose="ours", precision=case.stored, compiled="off", checkpointed=False
    )
    if key not in known:
        few, more = (replace(key, batch=num) for num in COUNTED)
        unfused = (replace(one, fused=False) for one in (few, more))
        flops = [count_flops(bare_step(one, device)) for one in unfused]
        moved = [count_bytes(bare_step(one, device)) for one in (few, more)]
        apart = COUNTED[1] - COUNTED[0]
        each = (moved[1] - moved[0]) / apart
        known[key] = (flops[1] - flops[0]) / apart, each, moved[0] - each * COUNTED[0]
    return known[key]


def measure_limits(device: torch.device) -> dict[str, float | None]:
    """Return what the device can do; FLOP/s and bytes/s."""
    side = 8192 if device.type == "cuda" else 256
    return {
        "published": published_peak(device),
        "bf16": matrix_peak(device, torch.bfloat16, side),
        "fp32": matrix_peak(device, torch.float32, side),
        "tf32": matrix_peak(device, torch.float32, side, rounded=True),
        "memory": copy_bandwidth(device),
        "transfer": transfer_bandwidth(device),
    }


def run(day: Day, options: argparse.Namespace) -> None:
    """Do all that fits into the budget, and write after each part."""
    deadline = time.monotonic() + options.budget_s - LAST_S * (day.device.type == "cuda")
    compiled_s = COMPILED_S
    known: dict[Case, Counts] = {}
    day.limits = measure_limits(day.device)
    for what in plan(day.device.type == "cuda"):
        left, began = deadline - time.monotonic(), time.monotonic()
        label = what if isinstance(what, str) else what.label
        if isinstance(what, str):
            takes = SECTION_S[what]
        else:
            takes = EAGER_S if what.compiled == "off" else compiled_s
        if left < min(takes, options.budget_s / 2):
            day.left_out.append(f"{label}: no time was left")
            continue
        try:
            with at_most(left):
                print(f"{label} ...", file=sys.stderr, flush=True)
                if isinstance(what, Case):
                    row = attempt(what, day.device, options.seconds)
                    tidy()
                    day.rows.append(row)
                    if row.timing is not None:
                        row.counts = count(what, known, day.device)
                else:
                    day.sections[what] = SECTIONS[what](day, options)
        except OutOfTime:
            day.left_out.append(f"{label}: begun, and not done within the budget")
        except (torch.OutOfMemoryError, OSError, RuntimeError, ValueError) as error:
            traceback.print_exc()
            day.left_out.append(f"{label}: failed: {str(error).splitlines()[0][:120]}")
        if isinstance(what, Case) and what.compiled != "off":
            compiled_s = min(compiled_s, time.monotonic() - began)
        tidy()
        write(day, options.out)


def main_case(day: Day) -> Case:
    """Return the case of which most is said: the fastest of ours, else the first of the plan."""
    row = fastest(day, BASE, "ours")
    planned = (one for one in plan(day.device.type == "cuda") if isinstance(one, Case))
    return row.case if row is not None else next(planned)


def profile_main(day: Day, options: argparse.Namespace) -> list[str]:  # noqa: ARG001
    """Profile a case that was timed."""
    case = main_case(day)
    return [
        f"{case.label}, without Lightning.",
        "",
        *profile_step(bare_step(case, day.device), day.device),
    ]


def compare_losses(day: Day, options: argparse.Namespace) -> list[str]:  # noqa: ARG001
    """Train in bf16 and in float32."""
    case = replace(main_case(day), compiled="off", batch=BATCH)
    day.curves = train_all(case, day.device, STEPS[day.device.type])
    return table(day.curves)


def load(day: Day, options: argparse.Namespace) -> list[str]:
    """Time the loader, and say it beside what the fastest step of ours asks for."""
    found = time_loader(day.device, options.images, options.workers, options.seconds)
    timed = [row for row in day.rows if row.timing is not None and row.case.whose == "ours"]
    fastest = max(timed, key=lambda row: row.case.batch / row.timing.step_s, default=None)
    if fastest is not None:
        asked = fastest.case.batch / fastest.timing.step_s
        found.append(
            f"- the fastest step of ours so far asks for {asked:.0f}: {fastest.case.label}"
        )
    return found


def time_attention(day: Day, options: argparse.Namespace) -> list[str]:  # noqa: ARG001
    """Time attention alone, in the blocks of the network of which most is said."""
    _, img_size, window, batch, _ = BASE
    found = list(shapes(img_size, window, batch))
    return [*measured(found, day.device, day.limits["memory"] or 1.0)]


SECTIONS = {
    "profile": profile_main,
    "curves": compare_losses,
    "attention": time_attention,
    "loader": load,
}


def parse(arguments: list[str]) -> argparse.Namespace:
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget-s", type=float, default=480.0, help="seconds for everything")
    parser.add_argument("--seconds", type=float, default=2.0, help="that each case is timed for")
    parser.add_argument("--images", type=int, default=128, help="JPEGs to make for the loader")
    workers = max(1, num_cores() - 1)
    parser.add_argument("--workers", type=int, default=workers, help="loader processes")
    parser.add_argument("--out", type=Path, help="folder to write to; on a GPU, the results")
    options = parser.parse_args(arguments)
    if options.budget_s <= 0 or options.seconds <= 0 or min(options.images, options.workers) < 1:
        parser.error("--budget-s and --seconds must be greater than 0, --images and --workers too")
    if options.out is None and on_gpu:
        options.out = RESULTS
    return options


def main() -> None:
    options = parse(sys.argv[1:])
    day = Day(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    run(day, options)
    print("\n".join(report(day)))
    for path in write(day, options.out):
        print(f"saved: {path}")


if __name__ == "__main__":
    main()
