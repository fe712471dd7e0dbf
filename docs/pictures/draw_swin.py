"""Draws the pictures of docs/swin.md, from what the network itself uses.

    ssl-swin pretrain demo --run-dir runs/page --model.img-size 48 --model.window-size 6
    python docs/pictures/draw_swin.py runs/page docs/pictures

The run is for the learned tables; about ten minutes on one CPU core.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from swin_cost import chart, cost
from tiles import abreast, cut_up, heat, name_pieces, outline, scene, tint

from ssl_swin.evaluation.drawing import INK, PAPER
from ssl_swin.models.encoder import Encoder, build_encoder
from ssl_swin.models.windows import EMPTY, Sides, Windows, split_into_windows
from ssl_swin.pretrained.load import load_encoder

TINY = "swin_tiny_patch4_window7_224"


def main() -> None:
    """Draw them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder of a pretrained Swin, for its tables")
    parser.add_argument("out", type=Path, help="folder for the pictures")
    given = parser.parse_args()
    trained = load_encoder(given.run).encoder
    with torch.device("meta"):
        encoder = build_encoder(TINY, 192, 3, window_size=6)
    pictures = {
        "stages": stages(encoder),
        "shift": shift((12, 12), (6, 6)),
        "mask": mask(trained),
        "bias": bias_tables(trained),
        "cost": chart(cost((224, 448, 672, 896, 1120))),
    }
    for name, picture in pictures.items():
        path = given.out / f"swin_{name}.png"
        picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
        print(f"{path}: {picture.width} x {picture.height}, {path.stat().st_size / 1000:.0f} KB")


def by_token(windows: Windows, values: np.ndarray) -> np.ndarray:
    """Return each token's value, of an array with one for each slot; the last is `EMPTY`'s own."""
    found = np.full(windows.slots.max() + 2, EMPTY)
    is_token = windows.slots != EMPTY
    found[windows.slots[is_token]] = np.broadcast_to(values, windows.slots.shape)[is_token]
    return found


def window_of(windows: Windows) -> np.ndarray:
    """Return each token's window."""
    return by_token(windows, np.arange(len(windows.slots))[:, None])


def piece_of(windows: Windows) -> np.ndarray:
    """Return each token's piece, a region of a window, numbered as they come in the image."""
    region = by_token(windows, windows.regions)
    whole = (window_of(windows) * (region.max() + 1) + region)[:-1]
    _, first, number = np.unique(whole, return_index=True, return_inverse=True)
    return np.append(first.argsort().argsort()[number], EMPTY)


def side_by_side(slots: np.ndarray, window: Sides, num: int) -> np.ndarray:
    """Return slots as they lie when windows are put side by side, so many in a row."""
    cut = slots.reshape(-1, num, *window)
    return cut.transpose(0, 2, 1, 3).reshape(-1, num * window[1])


def stages(encoder: Encoder, side: int = 144) -> Image.Image:
    """Show the tokens and windows of each stage, and beside them those of a ViT of 16 pixels."""
    image, tiles = scene(encoder.img_size[0]), []
    layers: Any = encoder.get_submodule("backbone.layers")
    for number, stage in enumerate(layers, 1):
        windows = split_into_windows(stage.grid, stage.blocks[0].window_size)
        rows, cols = stage.grid
        told = f"{len(windows.slots)} window{'s' * (len(windows.slots) > 1)}"
        lines = [f"{rows} x {cols} tokens", f"{stage.blocks[0].dim} channels", told]
        tiles.append((mosaic(image, stage.grid, windows, side), f"stage {number}", lines))
    grid = (encoder.img_size[0] // 16, encoder.img_size[1] // 16)
    lines = [f"{grid[0]} x {grid[1]} tokens", "768 channels", "all see all"]
    whole = mosaic(image, grid, split_into_windows(grid, grid), side)
    return abreast([*tiles, (whole, "ViT-B/16, all layers", lines)])


def mosaic(image: Image.Image, grid: Sides, windows: Windows, side: int) -> Image.Image:
    """Show an image in tokens, each its mean colour, and the windows around them."""
    small = image.resize((grid[1], grid[0]), Image.Resampling.BOX)
    picture = small.resize((side, side * grid[0] // grid[1]), Image.Resampling.NEAREST)
    return outline(picture, window_of(windows)[:-1].reshape(grid), INK, 1)


def shift(grid: Sides, window: Sides, cell: int = 15) -> Image.Image:
    """Show windows, shifted windows, and both ways to compute these in whole windows."""
    halves = (window[0] // 2, window[1] // 2)
    plain = split_into_windows(grid, window)
    cyclic = split_into_windows(grid, window, halves)
    padded = split_into_windows(grid, window, halves, "padded")
    in_place = np.arange(grid[0] * grid[1]).reshape(grid)
    across = grid[1] // window[1]
    rolled = side_by_side(cyclic.slots, window, across)
    filled = side_by_side(padded.slots, window, across + 1)
    small = cell * grid[1] // filled.shape[1]
    tiles = [
        (pieces(in_place, plain, plain, cell), "block 1", ["4 windows of 6 x 6 tokens"]),
        (pieces(in_place, cyclic, cyclic, cell), "block 2: shifted by 3", ["9 pieces"]),
        (
            framed(pieces(rolled, cyclic, cyclic, cell), window, cell),
            "computed: cyclic shift",
            ["4 windows; their pieces", "do not see one another"],
        ),
        (
            framed(pieces(filled, padded, cyclic, small), window, small),
            "or: padded",
            ["9 windows, no mask;", "grey slots are empty"],
        ),
    ]
    return abreast(tiles)


def pieces(slots: np.ndarray, windows: Windows, coloured_by: Windows, cell: int) -> Image.Image:
    """Show the tokens of slots, and what sees one another under one number."""
    grid = (round(slots.max() ** 0.5),) * 2  # square
    picture = tint(cut_up(scene(grid[0] * cell), grid, slots, cell), window_of(coloured_by)[slots])
    numbers = piece_of(windows)[slots]
    return name_pieces(outline(picture, numbers, PAPER, 3), numbers)


def framed(picture: Image.Image, window: Sides, cell: int) -> Image.Image:
    """Draw thick lines around whole windows."""
    row, col = np.indices((picture.height // cell, picture.width // cell))
    return outline(picture, row // window[0] * 1000 + col // window[1], INK, 3)


def mask(trained: Encoder, cell: int = 5) -> Image.Image:
    """Show the window in the corner of a shifted block, and what is added to its scores."""
    block: Any = trained.get_submodule("backbone.layers.0.blocks.1")
    grid, window = block.input_resolution, block.window_size
    windows = split_into_windows(grid, window, block.shift_size)
    visible, slots = block.attn_mask[-1].numpy(), windows.slots[-1].reshape(window)
    with torch.no_grad():
        tables = block.attn.bias(block.attn_mask)[:, 0].numpy()  # of the first head
    most = abs(tables[np.isfinite(tables)]).max()
    size = len(visible) * cell // window[0]
    numbers = piece_of(windows)[slots]
    tile = outline(cut_up(scene(grid[0] * size), grid, slots, size), numbers, PAPER, 3)
    tile = framed(name_pieces(tile, numbers), window, size)
    hidden = np.where(visible, 0.0, -np.inf)
    return abreast(
        [
            (tile, "window 4 of block 2", ["the corners of the image,", "numbered as above"]),
            (
                heat(hidden, 1.0, cell),
                "its mask",
                ["row: who looks, column:", "who is seen; dark: not"],
            ),
            (heat(tables[-1], most, cell), "its table, head 1", ["bias, and minus infinity"]),
            (heat(tables[0], most, cell), "table of window 1", ["bias alone"]),
        ]
    )


def bias_tables(trained: Encoder, side: int = 77) -> Image.Image:
    """Show what each head of each block has learned of how two tokens lie."""
    layers: Any = trained.get_submodule("backbone.layers")
    rows = max(len(stage.blocks) for stage in layers)
    most = max(abs(one).max() for stage in layers for b in stage.blocks for one in displaced(b))
    columns = []
    for number, stage in enumerate(layers, 1):
        heads = stage.blocks[0].attn.num_heads
        tile = Image.new("RGB", (heads * (side + 6) - 6, rows * (side + 6) - 6), PAPER)
        for row, block in enumerate(stage.blocks):
            for head, table in enumerate(displaced(block)):
                picture = heat(table, most, side // len(table))
                middle = picture.width // 2
                ImageDraw.Draw(picture).circle((middle, middle), 2, INK)
                tile.paste(picture, (head * (side + 6), row * (side + 6)))
        columns.append((tile, f"stage {number}: {heads} heads", []))
    told = f"red: up to +{most:.2f}, blue: down to -{most:.2f}"
    columns[0] = (*columns[0][:2], ["upper: block 1, lower: block 2"])
    columns[1] = (*columns[1][:2], [told])
    return abreast(columns)


def displaced(block: Any) -> np.ndarray:
    """Return each head's bias by where the other token lies, seen from the one in the middle."""
    rows, cols = block.window_size
    table = block.attn.relative_position_bias_table.detach().numpy()
    # rows of a table go by (one that looks) - (one that is seen): turned around
    return table.T.reshape(-1, 2 * rows - 1, 2 * cols - 1)[:, ::-1, ::-1]


if __name__ == "__main__":
    main()
