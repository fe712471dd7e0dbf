"""The way of the GPU, on the CPU: same crops as Pillow's, and what it refuses is decoded here."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ssl_swin.__main__ import run
from ssl_swin.data.batches.batch import collate
from ssl_swin.data.batches.loader import loader
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.open import open_shards
from ssl_swin.data.order.lanes import Share
from ssl_swin.data.order.one_set import SetOrder
from ssl_swin.data.pixels import on_device
from ssl_swin.data.pixels.transforms import EvaluationTransform, TrainTransform
from ssl_swin.training.datamodule import StreamModule
from tests.data.pixels.pictures import encoded, photograph
from tests.data.shards.tars import write_tar

# torchvision means to leave decoding to torchcodec, which needs FFmpeg's libraries.
pytestmark = pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities")
SIZE = 32


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("on_device")
    members = []
    for place in range(9):
        image = photograph((120 + 5 * place, 90), seed=place)
        exif = image.getexif()
        exif[0x0112] = max(1, place)  # all eight orientations
        members.append((f"{place}.jpg", encoded(image, "JPEG", exif=exif)))
    members.append(("a.png", encoded(photograph((90, 60)), "PNG")))
    members.append(("b.jpg", b"no image"))
    whole = encoded(photograph((90, 60)), "JPEG")
    members.append(("c.jpg", whole[: whole.index(b"\xff\xda") + 40]))  # little behind its header
    members.append(("d.jpg", whole))
    write_tar(folder / "a.tar", members)
    return open_shards(str(folder))


def module_of(shards, transform, decoder, in_chans=3):
    stream = ImageStream(shards, transform, SIZE, in_chans, decoder=decoder)
    order = SetOrder(shards.counts, 0, 1, 1)
    return StreamModule(stream, order, None, (0, 1), num_workers=0)


def batch_of(shards, transform, decoder, in_chans=3):
    module = module_of(shards, transform, decoder, in_chans)
    read = collate(module.stream.__getitems__(Share(3, np.arange(13))))
    return read, module.transfer_batch_to_device(dict(read), torch.device("cpu"), 0)


@pytest.mark.parametrize("in_chans", [1, 3])
@pytest.mark.parametrize(
    "transform", [TrainTransform(0, SIZE, (0.3, 1.0)), EvaluationTransform(SIZE)]
)
def test_batches_are_those_of_the_reference_but_for_rounding(shards, transform, in_chans):
    read, found = batch_of(shards, transform, "gpu", in_chans)
    _, expected = batch_of(shards, transform, "pil", in_chans)
    assert read["jpeg_table"][:, 0].tolist() == [*range(9), 11, 12]  # the rest is done here
    assert found.keys() == expected.keys()
    for name in ("index", "epoch", "replaced"):
        assert torch.equal(found[name], expected[name])
    difference = (found["image"].int() - expected["image"].int()).abs().float()
    assert difference.max() <= 8
    assert difference.mean() < 0.5


def test_what_the_device_refuses_is_read_again_and_replaced(shards):
    _, found = batch_of(shards, TrainTransform(0, SIZE, (0.3, 1.0)), "gpu")
    assert found["index"].tolist()[9:] == [9, 12, 12, 12]
    assert found["replaced"].tolist()[9:] == [-1, 10, 11, -1]


def test_colours_are_changed_before_the_device_has_anything_to_do(shards):
    transform = TrainTransform(0, SIZE, (0.3, 1.0), rand_augment="rand-m9")
    read, found = batch_of(shards, transform, "gpu")
    assert len(read["jpeg_table"]) == 0
    assert torch.equal(found["image"], batch_of(shards, transform, "fast")[1]["image"])


def test_pictures_and_measurements_leave_nothing_to_the_device(shards):
    module = module_of(shards, EvaluationTransform(SIZE), "gpu")
    assert not set(module.fixed_images(4)) & set(on_device.KEYS)
    module.trainer = SimpleNamespace(global_rank=0, world_size=1)
    assert set(on_device.KEYS) <= set(next(iter(module.train_dataloader())))


def test_a_machine_without_a_gpu_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    arguments = ["pretrain", "configs/pretrain/demo.yaml", f"--run_dir={tmp_path / 'run'}"]
    assert run([*arguments, "--data.decoder=gpu"]) == 2
    assert "data.decoder=gpu, but this machine shows no GPU" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_loader_process_hands_over_the_files(shards):
    stream = ImageStream(shards, TrainTransform(0, SIZE, (0.3, 1.0)), SIZE, 3, decoder="gpu")
    alone, process = (next(iter(loader(stream, [Share(3, np.arange(13))], num))) for num in (0, 1))
    assert alone.keys() == process.keys()
    for name in alone.keys() - {"image"}:  # of which most is still to be written
        assert torch.equal(alone[name], process[name])
