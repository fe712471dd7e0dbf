"""Pictures of what the network sees and what it reconstructs, as PNG files and in TensorBoard."""

import io
import textwrap
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from ssl_swin.models.masking import to_pixels
from ssl_swin.phases import Phase
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training.board import Board
from ssl_swin.training.looking import is_due, looking, takes_part
from ssl_swin.training.pretrain import PretrainModule, Reconstruction

HIDDEN = (126, 133, 148)  # colour of hidden patches; no grey, for images may be
DIMMED = 0.75  # how much of a visible patch of the reconstruction is that colour
MIN_SIDE_PX = 128  # smaller images are enlarged, without smoothing
ABREAST = 2  # images in a row
GAP_PX = 6
MARGIN_PX = 16
TITLE_PX, HEADING_PX, SMALL_PX = 20, 16, 13  # sizes of letters
INK, FAINT = (25, 25, 30), (105, 105, 115)
ABOUT = (
    "The loss is taken over hidden patches alone. What the network makes of visible ones is never "
    "trained, so it means nothing: it is dimmed."
)
EVERYWHERE = "The loss is taken everywhere, where the network sees the image, too."
NOTHING_HIDDEN = "Nothing is hidden, and the loss is taken everywhere."
ANOTHER = " The target is not the image: it is shown as if its numbers were those of pixels."


class Panels(Callback):
    """Makes a panel of the same images with the same masks each time, on rank 0."""

    def __init__(
        self, folder: RunFolder, every_steps: int, stop_step: int, num_images: int = 8
    ) -> None:
        self.folder, self.every_steps, self.stop_step = folder, every_steps, stop_step
        self.num_images = num_images

    def on_train_batch_end(self, trainer: Trainer, pl_module: PretrainModule, *_: Any) -> None:
        """Make a panel if it is time, or if the run ends here."""
        step = pl_module.step
        if not takes_part(trainer) or not is_due(step, self.every_steps, self.stop_step):
            return
        if not pl_module.can_reconstruct:
            return
        datamodule: Any = trainer.datamodule
        fixed, shown = datamodule.fixed_images(self.num_images), datamodule.shown_channels
        images, index = (fixed[name].to(pl_module.device) for name in ("image", "index"))
        with Phase("making pictures"), looking(trainer, pl_module):
            found = pl_module.reconstruct(images, index, shown)
        if not trainer.is_global_zero:
            return
        epoch, loss = step / pl_module.schedule.steps_per_epoch, found.loss.double().mean()
        title = f"step {step:,d}    epoch {epoch:.4g}    loss of these images {loss:.4f}"
        panel = make_panel(found, pl_module.masking.mask_patch_size, title)
        path = self.folder.panel(step)
        path.parent.mkdir(exist_ok=True)
        file = io.BytesIO()
        panel.save(file, "PNG")
        path.write_bytes(file.getvalue())
        for logger in trainer.loggers:
            if isinstance(logger, Board):
                logger.show("reconstruction", file.getvalue(), panel.size, step, _about(found))


def make_panel(found: Reconstruction, mask_patch_size: int, title: str) -> Image.Image:
    """Show of each image what is hidden, what is predicted, and that in place of what is hidden.

    The side of a mask patch is in pixels. A target that is not the image has a column of its own.
    """
    images, columns = found.images, _columns(found, mask_patch_size)
    zoom = -(-MIN_SIDE_PX // images.shape[-1])  # rounded up
    height, width = (length * zoom for length in images.shape[-2:])
    abreast = min(ABREAST, len(images))
    block = len(columns) * (width + GAP_PX) + MARGIN_PX  # an image in all its columns
    row = height + SMALL_PX + 2 * GAP_PX
    top = MARGIN_PX + TITLE_PX + MARGIN_PX + HEADING_PX + GAP_PX
    wide = abreast * block + MARGIN_PX - GAP_PX
    said = _about(found) + ("" if found.target is images else ANOTHER)
    about = textwrap.wrap(said, int(wide / (0.52 * SMALL_PX)))
    below = top + -(-len(images) // abreast) * row + GAP_PX
    tall = below + len(about) * (SMALL_PX + GAP_PX) + MARGIN_PX - GAP_PX
    panel = Image.new("RGB", (wide, tall), "white")
    draw = ImageDraw.Draw(panel)
    draw.text((MARGIN_PX, MARGIN_PX), title, INK, _font(TITLE_PX))
    for number, loss in enumerate(found.loss.tolist()):
        left, upper = MARGIN_PX + number % abreast * block, top + number // abreast * row
        for place, (heading, pictures) in enumerate(columns.items()):
            here = left + place * (width + GAP_PX)
            if number < abreast:
                draw.text((here, upper - HEADING_PX - GAP_PX), heading, INK, _font(HEADING_PX))
            panel.paste(_tile(pictures[number], zoom), (here, upper))
            if pictures is columns["reconstruction"]:
                draw.text((here, upper + height + 2), f"loss {loss:.4f}", FAINT, _font(SMALL_PX))
    for line, text in enumerate(about):
        draw.text((MARGIN_PX, below + line * (SMALL_PX + GAP_PX)), text, FAINT, _font(SMALL_PX))
    return panel


def _about(found: Reconstruction) -> str:
    """Say where the loss is taken."""
    if not found.everywhere:
        return ABOUT
    return EVERYWHERE if found.mask.any() else NOTHING_HIDDEN


def _columns(found: Reconstruction, mask_patch_size: int) -> dict[str, np.ndarray]:
    """Return the pictures under each heading, uint8 (batch, height, width, 3)."""
    images = found.images
    hidden = to_pixels(found.mask, mask_patch_size)[..., None].cpu().numpy()
    image, target, rebuilt = map(_as_rgb, (images, found.target, found.pixels))
    faint = (rebuilt * (1 - DIMMED) + np.array(HIDDEN) * DIMMED).astype(np.uint8)
    columns = {"image": image}
    if hidden.any():
        columns["masked"] = np.where(hidden, np.array(HIDDEN, np.uint8), image)
    if found.target is not images:
        columns["target"] = target
    columns["reconstruction"] = np.where(hidden | found.everywhere, rebuilt, faint)
    if hidden.any():
        columns["filled in"] = np.where(hidden, rebuilt, target)
    return columns


def _as_rgb(images: Tensor) -> np.ndarray:
    """Bring (batch, 1 or 3, height, width) to (batch, height, width, 3)."""
    pixels = images.cpu().numpy().transpose(0, 2, 3, 1)
    return np.broadcast_to(pixels, (*pixels.shape[:3], 3))


def _tile(pixels: np.ndarray, zoom: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels.repeat(zoom, 0).repeat(zoom, 1)))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font, which has no sizes where Pillow was built without FreeType."""
    return ImageFont.load_default(size if features.check("freetype2") else None)
