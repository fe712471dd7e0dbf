"""Channels by name through whole runs: sets whose files have them in other orders."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import webdataset

from ssl_swin.__main__ import run
from ssl_swin.data.open import open_shards
from ssl_swin.data.order.lanes import Share
from ssl_swin.data.pixels.decode import Bands
from ssl_swin.data.pixels.picture import picture
from ssl_swin.errors import UserError
from ssl_swin.evaluation.images import Files, Joined, Samples
from ssl_swin.evaluation.pixels import PixelStream
from ssl_swin.pretrained.card import EncoderCard, read_card
from ssl_swin.pretrained.classifier import open_classifier
from ssl_swin.pretrained.export.card import model_card
from ssl_swin.pretrained.export.handoff import open_handoff
from ssl_swin.pretrained.unfinished import read_unfinished
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs import life
from ssl_swin.runs.build import build
from ssl_swin.runs.channels import by_name, channels_of, channels_on
from tests.data.pixels.test_array_files import npy
from tests.training.launch import pretrain_config

BANDS = ("blue", "green", "red", "nir", "swir")
OTHER = ("nir", "swir", "blue", "red", "green")
NUM = 24


def tile(place):
    """A picture (32, 32, channels) of which each channel has numbers of its own."""
    values = np.random.default_rng(place).normal(0, 10, (32, 32, len(BANDS)))
    return (values + 100 * np.arange(len(BANDS))).astype(np.float32)


def write(folder, names, order, num=NUM):
    folder.mkdir()
    with webdataset.TarWriter(str(folder / "a.tar")) as tar:
        for place in range(num):
            values = tile(place)[..., [BANDS.index(name) for name in order]]
            label = str(place % 2).encode()
            tar.write({"__key__": f"{place:03d}", "npy": npy(values), "cls": label})
    if names:
        (folder / "channels.json").write_text(json.dumps(order))
    return folder


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The same images, named, in two orders, and without names."""
    root = tmp_path_factory.mktemp("sets")
    return (
        write(root / "one", True, BANDS),
        write(root / "other", True, OTHER),
        write(root / "bare", False, BANDS),
    )


def of(config, val=None, **data):
    taken = data.get("channels") or BANDS
    numbers = {"dtype": "float32", "mean": (200.0,) * len(taken), "std": (100.0,) * len(taken)}
    shards = config.data.val_shards if val is None else str(val)
    data = numbers | {"val_shards": shards, "num_lanes": None} | data
    training = replace(config.training, global_batch_size=8, micro_batch_size=8)
    optim = replace(config.optim, epochs=1, warmup_epochs=0)
    data = replace(config.data, **data)
    return replace(config, data=data, training=training, optim=optim)


def read(stream):
    return stream.read(Share(0, np.arange(NUM)))["image"]


@pytest.fixture(scope="module")
def pretrained(sets, tmp_path_factory):
    """A run on three channels by name, held out in the other order."""
    folder = tmp_path_factory.mktemp("run") / "pretrain"
    asked = {"channels": ("nir", "red", "green"), "picture_channels": ("red", "green", "nir")}
    config = of(pretrain_config(folder, sets[0]), sets[1], **asked)
    assert life.run(config) == 0
    return config, folder


def test_a_held_out_set_in_another_order_gives_the_same_batches(sets, pretrained):
    config, folder = pretrained
    built = build(replace(config, run_dir=f"{folder}-again"))
    heldout = built.datamodule.heldout.stream
    bands = Bands("float32", (3, 2, 1), num_in_file=5, shown=(1, 2, 0))
    assert built.stream.renderer.reading.bands == bands
    assert heldout.renderer.reading.bands.channels == (0, 3, 4)
    centre = build(replace(config, data=replace(config.data, val_shards=str(sets[0]))))
    assert read(heldout).equal(read(centre.datamodule.heldout.stream))
    assert (read(heldout)[0, 0] > 250).all()  # nir


def test_numbers_and_all_channels_get_their_names_when_a_run_begins(sets, tmp_path):
    for channels, names in ((None, BANDS), ((4, 0), ("swir", "blue"))):
        config = of(pretrain_config(tmp_path / "run", sets[0]), sets[1], channels=channels)
        built = build(config)
        assert built.config.data.channels == names
        assert built.datamodule.heldout.stream.renderer.reading.bands.channels == tuple(
            OTHER.index(name) for name in names
        )


def test_a_set_without_names_is_taken_to_have_the_order_of_the_training_set(sets, tmp_path, capsys):
    config = of(pretrain_config(tmp_path / "run", sets[1]), sets[2], channels=("red",))
    built = build(config)
    told = capsys.readouterr().out
    assert f"no channels.json beside {sets[2]}/a.tar: its channels are taken to be in the" in told
    assert f"beside {sets[1]}" not in told
    assert built.datamodule.heldout.stream.renderer.reading.bands.channels == (3,)


@pytest.mark.parametrize(
    ("which", "data", "said"),
    [
        (0, {"channels": ("nirr",)}, "asks for 'nirr'; the channels of the training shards are bl"),
        (0, {"channels": (5,)}, "channels.json names 5 channels, counted from 0"),
        (2, {"channels": ("nir",)}, "no channels.json names the channels of the training shards"),
        (0, {"channels": ("nir",), "picture_channels": ("red",)}, "which is none of the channels"),
        (0, {"mean": (1.0,) * 4, "std": (1.0,) * 4}, "names 5 channels, and data.mean has 4"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_starts(sets, tmp_path, which, data, said):
    with pytest.raises(UserError) as caught:
        life.run(of(pretrain_config(tmp_path / "run", sets[which]), **data))
    assert said in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_by_its_names_and_one_that_began_without_as_it_did(sets, tmp_path):
    copy = tmp_path / "shards"
    shutil.copytree(sets[2], copy)
    config = of(pretrain_config(tmp_path / "run", copy))
    assert life.run(config) == 0
    (copy / "channels.json").write_text(json.dumps(BANDS))
    again = build(config)
    assert again.start.state is not None
    assert again.config.data.channels is None
    named = replace(config, run_dir=str(tmp_path / "named"))
    assert life.run(named) == 0
    (copy / "channels.json").write_text(json.dumps(OTHER))
    went_on = build(named)
    assert went_on.config.data.channels == BANDS
    assert went_on.stream.renderer.reading.bands.channels == tuple(map(OTHER.index, BANDS))
    (copy / "channels.json").unlink()
    with pytest.raises(UserError, match=r"no channels\.json names the channels"):
        build(named)


def test_the_card_says_numbers_and_names(pretrained):
    _, folder = pretrained
    card = read_card(RunFolder(folder).encoder)
    assert (card.channels, card.channel_names) == ((3, 2, 1), ("nir", "red", "green"))
    assert card.picture_channels == (2, 1, 3)
    assert json.loads(RunFolder(folder).channels.read_text()) == [*BANDS]
    RunFolder(folder).encoder.rename(folder / "kept.safetensors")
    try:
        unfinished = read_unfinished(folder).card
    finally:
        (folder / "kept.safetensors").rename(RunFolder(folder).encoder)
    for name in ("channels", "channel_names", "picture_channels"):
        assert getattr(unfinished, name) == getattr(card, name)
    told = model_card(open_handoff(str(folder)), "timm", "", "")
    assert "Channels, in this order: nir, red, green." in told


def test_a_checkpoint_knows_the_names_itself(pretrained, tmp_path):
    copy = RunFolder(tmp_path / "copy")
    shutil.copytree(pretrained[1], copy.root)
    copy.encoder.unlink()
    copy.channels.unlink()
    assert read_unfinished(copy.root).card.channels == (3, 2, 1)


def test_pictures_show_the_channels_that_are_chosen(pretrained, tmp_path):
    config, _ = pretrained
    shown = {}
    for place, channels in enumerate([("red", "green", "nir"), ("nir",), (2, 1, 3)]):
        data = replace(config.data, picture_channels=channels)
        built = build(replace(config, run_dir=str(tmp_path / str(place)), data=data))
        datamodule, bands = built.datamodule, built.stream.renderer.reading.bands
        images, index = (datamodule.fixed_images(3)[name] for name in ("image", "index"))
        with torch.no_grad():
            found = built.module.reconstruct(images, index, datamodule.shown_channels)
        shown[place] = found.images
        reading = datamodule.heldout.stream.renderer.reading
        data = npy(tile(0)[..., [BANDS.index(name) for name in OTHER]])
        one = picture(data, 3, reading)
        assert one.getbands() == tuple("RGB" if len(channels) == 3 else "L")
        assert (np.asarray(one).min(), np.asarray(one).max()) == (0, 255)
        assert datamodule.shown_channels == bands.shown == reading.bands.shown
    assert shown[0].equal(shown[2])
    assert shown[1][:, 0].equal(shown[0][:, 2])


def test_cards_without_names_stay_as_they_were():
    assert channels_of(None, None) == {}
    card = EncoderCard({}, (1.0,), (1.0,), dtype="uint8", channels=(2,))
    assert "channel_names" not in card.to_json()
    assert channels_on(card, BANDS)["data.channels"] == (2,)
    assert by_name((1, 0), BANDS) == ("green", "blue")


def test_fine_tuning_and_prediction_find_channels_elsewhere(sets, pretrained, tmp_path, capsys):
    _, encoder = pretrained
    words = ["finetune", "--encoder", encoder, "--data.shards", sets[1], "--data.val-shards"]
    words += [sets[0], "--run-dir", tmp_path / "run", "--optim.epochs=1"]
    words += ["--optim.warmup-epochs=0", "--training.accelerator=cpu", "--data.num-workers=0"]
    assert run([str(one) for one in words]) == 0
    assert "data.channels=('nir', 'red', 'green')" in capsys.readouterr().out
    card = open_classifier(tmp_path / "run").card
    assert (card.channels, card.channel_names) == ((0, 3, 4), ("nir", "red", "green"))
    assert card.picture_channels == (3, 4, 0)
    streams = [PixelStream(Samples(open_shards(one)), card) for one in sets[:2]]
    first, second = (one.__getitems__(Share(0, np.arange(NUM)))["image"] for one in streams)
    assert first.equal(second)
    assert streams[0].renderer.reading.bands.shown == (1, 2, 0)
    both = Joined([Samples(open_shards(one)) for one in sets[:2]])
    with pytest.raises(UserError, match="have their channels in another order"):
        PixelStream(both, card)
    (tmp_path / "a.npy").write_bytes(npy(tile(0)[..., [BANDS.index(name) for name in OTHER]]))
    files = PixelStream(Joined([streams[1].images, Files((str(tmp_path / "a.npy"),))]), card)
    assert files.__getitems__(Share(0, np.array([0, NUM])))["image"].unique(dim=0).shape[0] == 1


def test_fine_tuning_is_refused_on_a_set_that_lacks_a_channel(pretrained, tmp_path):
    folder = write(tmp_path / "lacking", True, ("blue", "green", "red", "swir", "nir"))
    (folder / "channels.json").write_text(json.dumps(["blue", "green", "red", "swir", "x"]))
    words = ["finetune", "--encoder", pretrained[1], "--data.shards", folder]
    words += ["--run-dir", tmp_path / "run", "--training.accelerator=cpu"]
    assert run([str(one) for one in words]) == 2
