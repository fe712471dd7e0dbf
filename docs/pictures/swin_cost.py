"""Counts what Swin and ViT cost at several image sizes, and draws it, for docs/swin.md."""

from typing import Any

import numpy as np
import timm
import torch
from PIL import Image, ImageDraw
from tiles import AA, BLUE, DARK, RED, SMALL, TITLE
from torch.utils.flop_counter import FlopCounterMode

from ssl_swin.evaluation.drawing import GREY, PAPER, draw_text
from ssl_swin.models.encoder import build_encoder

SWIN, VIT, GLOBAL = "Swin-T, windows of 7", "DeiT-S, a ViT", "Swin-T, all see all"
Costs = dict[str, list[tuple[int, float]]]  # name -> pixels to a side, GFLOP


def cost(sides: tuple[int, ...]) -> Costs:
    """Count GFLOP of an image of each side, as torch does: twice the multiplications."""
    found: Costs = {}
    for side in sides:
        with torch.device("meta"):
            swin: Any = build_encoder("swin_tiny_patch4_window7_224", side, 3)
            vit = timm.create_model("deit_small_patch16_224", img_size=side, num_classes=0)
        counted = flops(swin, side)
        for name, count in (
            (SWIN, counted),
            (VIT, flops(vit, side)),
            (GLOBAL, counted + for_all_to_see_all(swin)),
        ):
            found.setdefault(name, []).append((side, count / 1e9))
    return found


def flops(model: Any, side: int) -> int:
    """Count the operations of one image's forward; no number is computed.

    In bf16: our attention computes float32 in place, which torch does not count.
    """
    for module in model.to("meta", torch.bfloat16).modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # a kernel would be counted as one that is not there
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, side, side, device="meta", dtype=torch.bfloat16))
    return counter.get_total_flops()


def for_all_to_see_all(swin: Any) -> int:
    """Count what a Swin's attention would cost beyond its windows (equation 1 less equation 2)."""
    extra = 0
    for block in swin.blocks():
        num_tokens = block.input_resolution[0] * block.input_resolution[1]
        num_seen = block.window_size[0] * block.window_size[1]
        extra += 2 * 2 * (num_tokens - num_seen) * num_tokens * block.dim
    return extra


def chart(series: Costs) -> Image.Image:
    """Draw GFLOP over the area of an image; dots were counted, lines are parabolas through them."""
    left, top, width, height = 48, 34, 570, 300
    sides = [side for side, _ in next(iter(series.values()))]
    area, most = sides[-1] ** 2, 1.2 * max(gflop for _, gflop in series[VIT])
    big = Image.new("RGB", (AA * (left + width + 160), AA * (top + height + 44)), PAPER)
    draw, ends = ImageDraw.Draw(big), []

    def place(side: float, gflop: float) -> tuple[float, float]:
        return left + width * side**2 / area, top + height * (1 - gflop / most)

    for colour, points in zip((BLUE, RED, DARK), series.values(), strict=True):
        curve = np.polyfit([side**2 for side, _ in points], [gflop for _, gflop in points], 2)
        drawn = [(side, np.polyval(curve, side**2)) for side in np.linspace(0, sides[-1], 200)]
        inside = [place(side, gflop) for side, gflop in drawn if gflop <= most]
        draw.line([(AA * x, AA * y) for x, y in inside], colour, 2 * AA)
        for x, y in (place(*point) for point in points if point[1] <= most):
            draw.circle((AA * x, AA * y), 3.5 * AA, colour)
        ends.append(inside[-1])
    draw.line(
        [(AA * x, AA * y) for x, y in (place(0, most), place(0, 0), place(sides[-1], 0))], GREY, AA
    )
    picture = big.reduce(AA)
    for name, (x, y) in zip(series, ends, strict=True):
        draw_text(picture, (x + 8, y), name, SMALL)
    for side in sides:
        draw_text(picture, (place(side, 0)[0], top + height + 12), f"{side} px", SMALL, anchor="mm")
    for gflop in range(0, int(most), 100):
        draw_text(picture, (left - 6, place(0, gflop)[1]), str(gflop), SMALL, anchor="rm")
    draw_text(picture, (4, 12), "GFLOP for one image, forward", TITLE)
    draw_text(picture, (left, top + height + 32), "area of the image, named by its side", TITLE)
    return picture
