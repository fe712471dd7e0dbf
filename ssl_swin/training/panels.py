"""Pictures of what the network sees and what it reconstructs, as PNG files and in TensorBoard."""

from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from ssl_swin.models.masking import to_pixels
from ssl_swin.phases import Phase
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training.fsdp import is_sharded
from ssl_swin.training.pretrain import PretrainModule

TITLES = ("input", "masked", "reconstruction", "pasted")
HIDDEN = 127  # grey of hidden patches
MIN_SIDE_PX = 96  # smaller images are enlarged, without smoothing
GAP_PX = 4
TITLE_PX = 16


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
        due = self.every_steps and step % self.every_steps == 0
        takes_part = trainer.is_global_zero or is_sharded(trainer)
        if not takes_part or not (due or step == self.stop_step):
            return
        fixed = trainer.datamodule.fixed_images(self.num_images)
        images, index = (fixed[name].to(pl_module.device) for name in ("image", "index"))
        pl_module.eval()
        told = Phase("making pictures")
        with told, torch.no_grad(), trainer.precision_plugin.val_step_context():
            reconstruction, mask = pl_module.reconstruct(images, index)
        pl_module.train()
        if not trainer.is_global_zero:
            return
        panel = make_panel(images, reconstruction, mask, pl_module.masking.mask_patch_size)
        path = self.folder.panel(step)
        path.parent.mkdir(exist_ok=True)
        panel.save(path)
        if trainer.logger is not None:
            writer = trainer.logger.experiment
            writer.add_image("reconstruction", np.asarray(panel), step, dataformats="HWC")


def make_panel(
    images: Tensor, reconstruction: Tensor, mask: Tensor, mask_patch_size: int
) -> Image.Image:
    """Put an image in each row: input, masked input, reconstruction, hidden patches pasted back.

    Images and reconstruction are uint8 (batch, chans, height, width); the mask is bool (batch,
    rows, cols) and True where hidden; the side of a mask patch is in pixels.
    """
    hidden = to_pixels(mask, mask_patch_size)[:, None]  # (batch, 1, height, width)
    grey = torch.full_like(images, HIDDEN)
    masked, pasted = (torch.where(hidden, over, images) for over in (grey, reconstruction))
    columns = [images, masked, reconstruction, pasted]
    zoom = -(-MIN_SIDE_PX // images.shape[-1])  # rounded up
    side = images.shape[-1] * zoom + GAP_PX
    size = len(columns) * side + GAP_PX, len(images) * side + GAP_PX + TITLE_PX
    panel = Image.new("RGB", size, "white")
    for place, (title, column) in enumerate(zip(TITLES, columns, strict=True)):
        left = GAP_PX + place * side
        ImageDraw.Draw(panel).text((left, 2), title, fill="black")
        for row, pixels in enumerate(column.cpu().numpy()):
            # (chans, height, width) -> (height, width, 3), enlarged
            tile = np.repeat(np.repeat(pixels.transpose(1, 2, 0), zoom, 0), zoom, 1)
            tile = np.broadcast_to(tile, (*tile.shape[:2], 3))
            panel.paste(Image.fromarray(np.ascontiguousarray(tile)), (left, TITLE_PX + row * side))
    return panel
