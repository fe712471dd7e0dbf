from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training import panels
from ssl_swin.training.board import Board
from ssl_swin.training.panels import (
    DIMMED,
    GAP_PX,
    HEADING_PX,
    HIDDEN,
    MARGIN_PX,
    MIN_SIDE_PX,
    SMALL_PX,
    TITLE_PX,
    Panels,
    make_panel,
)
from ssl_swin.training.pretrain import Reconstruction
from ssl_swin.training.trainer import Hardware, make_trainer
from tests.training.test_board import events
from tests.training.tiny import batches, learner

MASK = torch.tensor([[[True, False], [False, True]]])  # of four patches of 8 pixels
TOP = 2 * MARGIN_PX + TITLE_PX + HEADING_PX + GAP_PX


def found(images, value, target=None):
    num = len(images)
    pixels = torch.full_like(images, value)
    mask, loss = MASK.expand(num, 2, 2), torch.full((num,), 0.25)
    return Reconstruction(images, pixels, images if target is None else target, mask, loss)


def tiles(panel, side, row, num=4):
    """The pictures of an image, uint8 (side, side, 3) each, in a panel of one or two."""
    pixels = np.asarray(panel)
    first = MARGIN_PX + row * (num * (side + GAP_PX) + MARGIN_PX)
    lefts = [first + place * (side + GAP_PX) for place in range(num)]
    return [pixels[TOP : TOP + side, left : left + side] for left in lefts]


@pytest.mark.parametrize("chans", [1, 3])
def test_of_each_image_are_shown_its_visible_part_and_what_is_made_of_it(chans):
    images = torch.full((2, chans, 16, 16), 10, dtype=torch.uint8)
    images[1] = 20
    panel = make_panel(found(images, 200), 8, "title")
    assert panel.mode == "RGB"
    assert MIN_SIDE_PX % 16 == 0
    hidden = np.kron(MASK[0].numpy(), np.ones((MIN_SIDE_PX // 2, MIN_SIDE_PX // 2), dtype=bool))
    hidden = hidden[:, :, None]
    for place, value in enumerate((10, 20)):
        image, masked, rebuilt, filled_in = tiles(panel, MIN_SIDE_PX, place)
        assert (image == value).all()
        assert (masked == np.where(hidden, HIDDEN, value)).all()
        faint = (200 * (1 - DIMMED) + np.array(HIDDEN) * DIMMED).astype(np.uint8)
        assert (rebuilt == np.where(hidden, 200, faint)).all()
        assert (filled_in == np.where(hidden, 200, value)).all()


def test_another_target_has_a_column_of_its_own_and_is_filled_in():
    images = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    panel = make_panel(found(images, 200, target=images + 90), 8, "title")
    _, _, target, _, filled_in = tiles(panel, MIN_SIDE_PX, 0, num=5)
    assert (target == 90).all()
    assert sorted(np.unique(filled_in)) == [90, 200]


def test_where_the_loss_is_taken_everywhere_nothing_is_dimmed():
    images = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    everywhere = found(images, 200)._replace(everywhere=True)
    _, _masked, rebuilt, filled_in = tiles(make_panel(everywhere, 8, "title"), MIN_SIDE_PX, 0)
    assert (rebuilt == 200).all()
    assert sorted(np.unique(filled_in)) == [0, 200]
    nothing = everywhere._replace(mask=torch.zeros_like(everywhere.mask))
    panel = make_panel(nothing, 8, "title")
    assert panel.width == 2 * (MIN_SIDE_PX + GAP_PX) + 2 * MARGIN_PX - GAP_PX
    image, rebuilt = tiles(panel, MIN_SIDE_PX, 0, num=2)
    assert (image == 0).all()
    assert (rebuilt == 200).all()


def test_large_images_are_not_enlarged_and_one_alone_has_a_row_alone():
    images = torch.zeros(1, 3, 160, 160, dtype=torch.uint8)
    panel = make_panel(found(images, 0), 80, "title")
    assert panel.width == 4 * (160 + GAP_PX) + 2 * MARGIN_PX - GAP_PX
    assert panel.height >= TOP + 160 + SMALL_PX


def test_pillow_without_freetype_has_a_font_too(monkeypatch):
    images = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    with_it = np.asarray(make_panel(found(images, 0), 8, "a title"))
    monkeypatch.setattr(panels.features, "check", lambda _: False)
    without = np.asarray(make_panel(found(images, 0), 8, "a title"))
    assert with_it.shape == without.shape
    assert (with_it[:TOP] < 128).sum() > 2 * (without[:TOP] < 128).sum() / 3 > 0


class Images(LightningDataModule):
    """Two batches, of which the first is shown, too."""

    shown_channels = None

    def train_dataloader(self):
        return DataLoader(batches(2), batch_size=None)

    def fixed_images(self, num):
        return {name: value[:num] for name, value in batches(1)[0].items()}


def test_a_panel_is_a_file_and_in_tensorboard(tmp_path):
    folder, hardware = RunFolder(tmp_path), Hardware("cpu", precision="fp64")
    trainer = make_trainer(hardware, [Panels(folder, 0, 2)], [Board(folder, 0)])
    trainer.fit(learner(), datamodule=Images())
    (path,) = (tmp_path / "panels").iterdir()
    assert path.name == "step-0000002.png"
    (shown,) = events(folder.train).Images("reconstruction")
    assert shown.encoded_image_string == path.read_bytes()
    with Image.open(path) as panel:
        assert (shown.width, shown.height) == panel.size
    assert shown.step == 2


def test_where_nothing_that_is_predicted_is_a_picture_there_is_no_panel(tmp_path):
    module = learner()
    (head,) = module.network.heads
    module.network.heads = (head._replace(target=replace(head.target, is_picture=False)),)
    hardware = Hardware("cpu", precision="fp64")
    trainer = make_trainer(hardware, [Panels(RunFolder(tmp_path), 0, 2)], [])
    trainer.fit(module, datamodule=Images())
    assert not (tmp_path / "panels").exists()
