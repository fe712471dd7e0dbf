"""Features of held-out images for TensorBoard's projector, with thumbnails and labels."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from google.protobuf import text_format
from PIL import Image
from pytorch_lightning import Callback, Trainer
from tensorboard.plugins.projector.metadata import PROJECTOR_FILENAME
from tensorboard.plugins.projector.projector_config_pb2 import (
    EmbeddingInfo,
    ProjectorConfig,
    SpriteMetadata,
)
from torch import Tensor

from ssl_swin.data.pixels.crop import to_image
from ssl_swin.data.pixels.picture import as_colours
from ssl_swin.data.shards.classes import names_of
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import ShardError
from ssl_swin.files import replacing
from ssl_swin.phases import Phase
from ssl_swin.training.board import Board
from ssl_swin.training.looking import looking, takes_part
from ssl_swin.training.pretrain import PretrainModule
from ssl_swin.training.watchdog import beat

NUM_IMAGES, THUMBNAIL_PX, AT_ONCE = 512, 48, 32
FOLDER = "projector"  # beside the event files


class Projector(Callback):
    """Writes them where the run ends, for 512 images; rank 0 does, all take part if they must."""

    def __init__(self, stop_step: int, num_images: int = NUM_IMAGES) -> None:
        self.stop_step, self.num_images = stop_step, num_images

    def on_train_batch_end(self, trainer: Trainer, pl_module: PretrainModule, *_: Any) -> None:
        """Write them if the run ends here."""
        boards = [one for one in trainer.loggers if isinstance(one, Board)]
        if pl_module.step != self.stop_step or not takes_part(trainer) or not boards:
            return
        datamodule: Any = trainer.datamodule
        images, index = (
            datamodule.fixed_images(self.num_images)[key] for key in ("image", "index")
        )
        found = []
        with Phase("features for the projector"), looking(trainer, pl_module):
            for some in images.split(AT_ONCE):
                found.append(pl_module.features(some.to(pl_module.device)).float().cpu())
                beat()
        if trainer.is_global_zero:
            heldout = datamodule.heldout
            shards = (heldout.stream if heldout else datamodule.stream).shards
            nodata, of = pl_module.normalise.nodata, datamodule.shown_channels
            shown = as_colours(images.numpy().transpose(0, 2, 3, 1), nodata, of)
            write(boards[0].place, torch.cat(found), shown, labels_of(shards, index.tolist()))


def write(place: Path, features: Tensor, images: np.ndarray, rows: Sequence[Sequence[str]]) -> None:
    """Write what the projector reads beside the event files in a folder, whole or not at all.

    Args:
        place: The folder of a run of TensorBoard.
        features: (num, channels).
        images: uint8 (num, height, width, 1 or 3).
        rows: What is told of each image, beneath a row of headings: ``1 + num`` rows.
    """
    thumbnails = SpriteMetadata(
        image_path=f"{FOLDER}/thumbnails.png", single_image_dim=[THUMBNAIL_PX, THUMBNAIL_PX]
    )
    embedding = EmbeddingInfo(
        tensor_name="features of the last stage, mean over positions",
        tensor_shape=features.shape,
        tensor_path=f"{FOLDER}/features.tsv",
        metadata_path=f"{FOLDER}/labels.tsv",
        sprite=thumbnails,
    )
    config = ProjectorConfig(embeddings=[embedding])
    folder = place / FOLDER
    place.mkdir(exist_ok=True)  # in a run folder that is there
    folder.mkdir(exist_ok=True)
    with replacing(folder / "features.tsv") as file:
        np.savetxt(file, features.numpy(), fmt="%.5g", delimiter="\t")
    with replacing(folder / "labels.tsv") as file:
        headed = rows if len(rows[0]) > 1 else rows[1:]  # one column alone has no heading
        file.write("".join("\t".join(row) + "\n" for row in headed).encode())
    with replacing(folder / "thumbnails.png") as file:
        sprite(images).save(file, "PNG")
    with replacing(place / PROJECTOR_FILENAME) as file:
        file.write(text_format.MessageToString(config).encode())


def sprite(images: np.ndarray) -> Image.Image:
    """Return small pictures of uint8 (num, height, width, 1 or 3), row by row, in a square."""
    side = math.ceil(math.sqrt(len(images)))
    whole = Image.new("RGB", (side * THUMBNAIL_PX,) * 2, "white")
    for number, image in enumerate(images):
        small = to_image(image).convert("RGB").resize((THUMBNAIL_PX,) * 2)
        whole.paste(small, (number % side * THUMBNAIL_PX, number // side * THUMBNAIL_PX))
    return whole


def labels_of(shards: ShardSet, index: Sequence[int]) -> list[list[str]]:
    """Return the class of these images, where all have one, and their places in the set."""
    reader, places = ShardReader(shards), [["image"], *([str(one)] for one in index)]
    try:
        names = names_of(shards) or ()
        found = zip(*shards.locate(np.array(index)), strict=True)
        label = [reader.label(int(shard), int(row)) for shard, row in found]
    except ShardError:
        return places
    classes = [names[one] if one < len(names) else str(one) for one in label]
    return [[one, *rest] for one, rest in zip(["class", *classes], places, strict=True)]
