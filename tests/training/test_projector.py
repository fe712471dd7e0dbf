import io
import json

import numpy as np
import pytest
import torch
import webdataset
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from ssl_swin.data.batches.labels import Labels
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.open import open_shards
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training import projector
from ssl_swin.training.board import Board
from ssl_swin.training.datamodule import Heldout, StreamModule
from ssl_swin.training.projector import THUMBNAIL_PX, Projector, labels_of, sprite, write
from ssl_swin.training.trainer import Hardware, make_trainer
from tests.training.conftest import SAMPLE
from tests.training.tiny import batches, learner

PATTERN = str(SAMPLE / "test-{000000..000001}.tar")


def test_what_is_written_is_what_the_projector_reads(tmp_path):
    features, images = torch.arange(6.0).view(3, 2) / 7, np.zeros((3, 8, 8, 1), np.uint8)
    write(tmp_path, features, images, [["class", "image"], *([str(k), "x"] for k in range(3))])
    config = ProjectorConfig()
    text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), config)
    (embedding,) = config.embeddings
    assert list(embedding.tensor_shape) == [3, 2]
    read = np.loadtxt(tmp_path / embedding.tensor_path, delimiter="\t")
    assert np.abs(read - features.numpy()).max() < 1e-5
    lines = (tmp_path / embedding.metadata_path).read_text().splitlines()
    assert lines == ["class\timage", "0\tx", "1\tx", "2\tx"]
    assert list(embedding.sprite.single_image_dim) == [THUMBNAIL_PX, THUMBNAIL_PX]
    with Image.open(tmp_path / embedding.sprite.image_path) as thumbnails:
        assert thumbnails.size == (2 * THUMBNAIL_PX,) * 2


def test_one_column_has_no_heading(tmp_path):
    write(tmp_path, torch.ones(1, 2), np.zeros((1, 8, 8, 3), np.uint8), [["image"], ["17"]])
    assert (tmp_path / "projector" / "labels.tsv").read_text() == "17\n"


@pytest.mark.parametrize("chans", [1, 3])
def test_thumbnails_lie_row_by_row_in_a_square(chans):
    images = np.arange(0, 50, 10, np.uint8)[:, None, None, None].repeat(chans, 3)
    images = images.repeat(16, 1).repeat(16, 2)
    found = np.asarray(sprite(images))
    assert found.shape == (3 * THUMBNAIL_PX, 3 * THUMBNAIL_PX, 3)
    middle = THUMBNAIL_PX // 2 + THUMBNAIL_PX * np.arange(3)
    assert found[middle][:, middle, 0].ravel().tolist() == [0, 10, 20, 30, 40, 255, 255, 255, 255]


def test_images_are_told_by_class_where_they_have_one():
    shards = open_shards(PATTERN)
    head, first, *_ = labels_of(shards, [0, shards.num_samples - 1])
    assert head == ["class", "image"]
    names = json.loads((SAMPLE / "classes.json").read_text())
    name = names[int(Labels.of(shards).all(shards, "given")[0])]
    assert first == [name, "0"]


def test_without_labels_the_place_is_all(tmp_path):
    image = Image.new("L", (8, 8))
    file = io.BytesIO()
    image.save(file, "PNG")
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as tar:
        tar.write({"__key__": "one", "png": file.getvalue()})
    assert labels_of(open_shards(str(tmp_path)), [0]) == [["image"], ["0"]]


@pytest.mark.parametrize("has_heldout", [True, False])
def test_features_are_written_where_the_run_ends(tmp_path, has_heldout):
    folder, module = RunFolder(tmp_path), learner()
    stream = ImageStream(PATTERN, img_size=16, in_chans=1)
    datamodule = StreamModule(stream, None, Heldout(stream, 8) if has_heldout else None, (0, 2), 0)
    datamodule.train_dataloader = lambda: torch.utils.data.DataLoader(batches(2), batch_size=None)
    trainer = make_trainer(
        Hardware("cpu", precision="fp64"), [Projector(2, 40)], [Board(folder, 0)]
    )
    trainer.fit(module, datamodule=datamodule)
    read = np.loadtxt(folder.train / projector.FOLDER / "features.tsv", delimiter="\t")
    images = datamodule.fixed_images(40)["image"]
    with torch.no_grad():
        features = module.eval().features(images)
    assert read.shape == (40, module.network.encoder.num_features)
    assert np.abs(read - features.numpy()).max() < 1e-4
