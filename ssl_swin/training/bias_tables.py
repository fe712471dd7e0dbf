"""A picture of what attention has learned of how two tokens lie, for TensorBoard."""

import io
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from pytorch_lightning import Callback, Trainer
from torch.distributed.tensor import DTensor

from ssl_swin.evaluation.drawing import GREY, PAPER, draw_text, text_size
from ssl_swin.models.encoder import Encoder, part_of
from ssl_swin.training.board import Board
from ssl_swin.training.learner import Learner
from ssl_swin.training.looking import is_due, takes_part

TILE_PX, GAP_PX, MARGIN_PX = 72, 8, 16  # a table is at least so wide
ABREAST = 8  # heads in a row
TITLE_PX, TEXT_PX, SMALL_PX = 18, 14, 12  # sizes of letters
LESS, MORE = np.array((33, 102, 172)), np.array((178, 24, 43))  # blue, red
ABOUT = (
    "Relative position bias of each head, in the last block of each stage: what is added to the "
    "score of another token, by where that lies seen from the token in the middle."
)
BELOW = "added to attention scores; the middle is the token itself"
Tables = dict[str, np.ndarray]  # what stands above a row -> (heads, rows, columns)


class BiasTables(Callback):
    """Makes the picture when panels are made. Of an encoder without tables it makes none."""

    def __init__(self, every_steps: int, stop_step: int) -> None:
        self.every_steps, self.stop_step = every_steps, stop_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: Learner, *_: Any) -> None:
        """Make it if it is time, or if the run ends here."""
        step = pl_module.step
        if not takes_part(trainer) or not is_due(step, self.every_steps, self.stop_step):
            return
        encoder: Any = pl_module.network.encoder
        tables = last_tables(encoder)
        boards = [logger for logger in trainer.loggers if isinstance(logger, Board)]
        if not tables or not trainer.is_global_zero or not boards:
            return
        picture, file = draw_tables(tables, f"step {step:,d}"), io.BytesIO()
        picture.save(file, "PNG")
        for board in boards:
            board.show("attention_bias", file.getvalue(), picture.size, step, ABOUT)


@torch.no_grad()
def last_tables(encoder: Encoder) -> Tables:
    """Return the tables of each stage's last block; all ranks ask, if weights are in parts."""
    last = {
        part_of(encoder, name): (name, window) for name, window in encoder.position_tables().items()
    }
    found = {}
    for part, (name, (rows, cols)) in last.items():
        table = encoder.get_parameter(name)
        whole = table.full_tensor() if isinstance(table, DTensor) else table
        heads = whole[: (2 * rows - 1) * (2 * cols - 1)].float().cpu().numpy().T
        title = f"{part}, {len(heads)} head{'s' * (len(heads) > 1)}, window {rows} x {cols}"
        found[title] = heads.reshape(-1, 2 * rows - 1, 2 * cols - 1)
    return found


def draw_tables(tables: Tables, title: str) -> Image.Image:
    """Draw a row of squares for each stage, blue for less and red for more, in one scale."""
    most = max(float(np.abs(heads).max()) for heads in tables.values()) or 1.0
    tiles = {above: [_tile(head / most) for head in heads] for above, heads in tables.items()}
    cell = GAP_PX + max(max(tile.size) for of_stage in tiles.values() for tile in of_stage)
    abreast = min(ABREAST, max(map(len, tiles.values())))
    wide = max(abreast * cell, *(text_size(one, TEXT_PX)[0] for one in (*tables, BELOW)))
    line = 2 * TEXT_PX
    rows = [-(-len(of_stage) // abreast) for of_stage in tiles.values()]
    tall = 4 * line + sum(line + num * cell for num in rows)
    image = Image.new("RGB", (wide + 2 * MARGIN_PX, tall + MARGIN_PX), PAPER)
    draw_text(image, (MARGIN_PX, line / 2 + GAP_PX), title, TITLE_PX)
    draw_text(image, (MARGIN_PX, 3 * line / 2), BELOW, SMALL_PX, GREY)
    top = 2 * line
    for above, of_stage in tiles.items():
        draw_text(image, (MARGIN_PX, top + line / 2), above, TEXT_PX)
        top += line
        for number, tile in enumerate(of_stage):
            row, place = divmod(number, abreast)
            image.paste(tile, (MARGIN_PX + place * cell, top + row * cell))
        top += -(-len(of_stage) // abreast) * cell
    _draw_scale(image, (MARGIN_PX, top + line // 2), most)
    return image


def _draw_scale(image: Image.Image, place: tuple[int, int], most: float) -> None:
    """Draw which colour is which number, from -most to most."""
    left, top = place
    low, high = f"-{most:.2g}", f"+{most:.2g}"
    draw_text(image, (left, top + SMALL_PX / 2), low, SMALL_PX)
    start = left + text_size(low, SMALL_PX)[0] + GAP_PX
    bar = Image.fromarray(_colours(np.linspace(-1, 1, 160)[None].repeat(SMALL_PX, 0)))
    image.paste(bar, (start, top))
    ImageDraw.Draw(image).rectangle((start, top, start + 159, top + SMALL_PX - 1), outline=GREY)
    draw_text(image, (start + 160 + GAP_PX, top + SMALL_PX / 2), high, SMALL_PX)


def _tile(table: np.ndarray) -> Image.Image:
    zoom = -(-TILE_PX // max(table.shape))
    return Image.fromarray(_colours(table.repeat(zoom, 0).repeat(zoom, 1)))


def _colours(values: np.ndarray) -> np.ndarray:
    """Return uint8 (rows, columns, 3) of numbers from -1, blue, over 0, white, to 1, red."""
    share = np.abs(values)[..., None]
    colour = np.where(values[..., None] < 0, LESS, MORE)
    return (255 + (colour - 255) * share).round().astype(np.uint8)
