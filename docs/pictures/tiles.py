"""What the pictures of docs/swin.md are made of: images in tokens, lines, colours, titles."""

import numpy as np
from PIL import Image, ImageDraw

from ssl_swin.evaluation.drawing import INK, PAPER, blend, draw_text
from ssl_swin.models.windows import EMPTY, Sides

COLOURS = ((31, 111, 178), (224, 138, 30), (90, 160, 66), (154, 79, 150))  # of windows
BLUE, RED, DARK = (27, 98, 165), (200, 55, 70), (52, 60, 72)
GAP, TITLE, SMALL = 20, 13, 12  # pixels
AA = 4  # what has edges is drawn so much larger, then reduced


def scene(side: int) -> Image.Image:
    """Draw something to cut up, of which one sees where a piece is from: a house under the sun."""
    big = AA * side
    down = np.linspace(0, 1, big)[:, None, None]
    sky = np.array([104, 166, 224]) * (1 - down) + np.array([226, 238, 248]) * down
    image = Image.fromarray(np.broadcast_to(sky, (big, big, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(image)

    def at(*points: tuple[float, float]) -> list[tuple[float, float]]:
        return [(x * big, y * big) for x, y in points]

    draw.ellipse(at((0.08, 0.07), (0.27, 0.26)), "#f7c948")
    draw.ellipse(at((-0.4, 0.6), (0.75, 1.7)), "#5b8c5a")
    draw.ellipse(at((0.3, 0.66), (1.6, 1.9)), "#86a95f")
    draw.rectangle(at((0.53, 0.46), (0.83, 0.75)), "#efe6d4")
    draw.polygon(at((0.47, 0.47), (0.68, 0.27), (0.89, 0.47)), "#a63d40")
    draw.rectangle(at((0.58, 0.56), (0.66, 0.75)), "#6b4f3a")
    draw.rectangle(at((0.70, 0.53), (0.79, 0.62)), "#8fc1e3")
    draw.rectangle(at((0.205, 0.6), (0.245, 0.8)), "#6b4f3a")
    draw.ellipse(at((0.1, 0.36), (0.35, 0.68)), "#2f6b3a")
    return image.reduce(AA)


def cut_up(image: Image.Image, grid: Sides, slots: np.ndarray, cell: int) -> Image.Image:
    """Put the token of each slot where the slot lies; empty slots stay grey."""
    tokens = image.resize((grid[1] * cell, grid[0] * cell), Image.Resampling.BOX)
    picture = Image.new("RGB", (slots.shape[1] * cell, slots.shape[0] * cell), "#d5d9de")
    for (row, col), token in np.ndenumerate(slots):
        if token != EMPTY:
            x, y = token % grid[1] * cell, token // grid[1] * cell
            picture.paste(tokens.crop((x, y, x + cell, y + cell)), (col * cell, row * cell))
    return picture


def tint(picture: Image.Image, numbers: np.ndarray, share: float = 0.45) -> Image.Image:
    """Colour places by their numbers; those that have none, `EMPTY`, stay as they are."""
    cell = picture.width // numbers.shape[1]
    colours = np.array(COLOURS, np.uint8)[numbers % len(COLOURS)]
    over = Image.fromarray(colours.repeat(cell, 0).repeat(cell, 1))
    alpha = np.where(numbers == EMPTY, 0, round(255 * share)).astype(np.uint8)
    picture.paste(over, mask=Image.fromarray(alpha.repeat(cell, 0).repeat(cell, 1)))
    return picture


def outline(picture: Image.Image, numbers: np.ndarray, colour: str, width: int) -> Image.Image:
    """Draw lines between places of different numbers, and around all."""
    cell, draw = picture.width // numbers.shape[1], ImageDraw.Draw(picture)
    rows, cols = numbers.shape
    framed = np.pad(numbers, 1, constant_values=-9)
    for row, col in np.ndindex(rows + 1, cols + 1):
        x, y, half = col * cell, row * cell, width // 2
        x, y = min(x, picture.width - 1), min(y, picture.height - 1)
        if col < cols and framed[row, col + 1] != framed[row + 1, col + 1]:
            draw.rectangle((x - half, y - half, x + cell + half, y + half), colour)
        if row < rows and framed[row + 1, col] != framed[row + 1, col + 1]:
            draw.rectangle((x - half, y - half, x + half, y + cell + half), colour)
    return picture


def name_pieces(picture: Image.Image, numbers: np.ndarray) -> Image.Image:
    """Write each number, from 1 on, into the middle of its places."""
    cell = picture.width // numbers.shape[1]
    for number in sorted({*numbers.ravel().tolist()} - {EMPTY}):
        row, col = (np.flatnonzero((numbers == number).any(axis)).mean() for axis in (1, 0))
        place = ((col + 0.5) * cell, (row + 0.5) * cell)
        ImageDraw.Draw(picture).circle(place, 9, PAPER)
        draw_text(picture, place, str(number + 1), SMALL, anchor="mm")
    return picture


def heat(values: np.ndarray, most: float, cell: int) -> Image.Image:
    """Colour numbers from blue by white to red; minus infinity is dark."""
    picture = np.empty((*values.shape, 3), np.uint8)
    for place, value in np.ndenumerate(values):
        own = blend(RED if value > 0 else BLUE, min(abs(value) / most, 1.0))
        picture[place] = own if np.isfinite(value) else DARK
    image = Image.fromarray(picture.repeat(cell, 0).repeat(cell, 1))
    return outline(image, np.zeros(values.shape, int), INK, 1)


def abreast(tiles: list[tuple[Image.Image, str, list[str]]]) -> Image.Image:
    """Put pictures side by side, each with a title above and lines below."""
    top, line = GAP + 4, round(1.4 * SMALL)
    below = max(len(lines) for _, _, lines in tiles)
    height = top + max(tile.height for tile, _, _ in tiles) + 6 + below * line + 4
    width = sum(tile.width for tile, _, _ in tiles) + GAP * (len(tiles) - 1) + 4
    picture, left = Image.new("RGB", (width, height), PAPER), 2
    for tile, title, lines in tiles:
        draw_text(picture, (left, top / 2 - 1), title, TITLE)
        picture.paste(tile, (left, top))
        for number, text in enumerate(lines):
            draw_text(picture, (left, top + tile.height + 6 + (number + 0.5) * line), text, SMALL)
        left += tile.width + GAP
    return picture
