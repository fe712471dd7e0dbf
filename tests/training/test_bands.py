"""Satellite tiles, TIFFs and images of two sides, through whole runs: killed, on other layouts."""

import signal
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
import webdataset

from ssl_swin.__main__ import run
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.open import open_shards
from ssl_swin.data.order.lanes import Share
from ssl_swin.data.pixels.decode import Reading
from ssl_swin.errors import UserError
from ssl_swin.pretrained.load import load_classifier, load_encoder
from ssl_swin.runs import life
from ssl_swin.runs.build import build
from tests.data.pixels.test_array_files import npy, tiff
from tests.training.launch import finish, interrupt, pretrain_config, start, train
from tests.training.test_elastic import points
from tests.training.test_interruption import assert_equal, checkpoint

NUM = 101
NAN_BOX, NODATA = (slice(0, 9), slice(0, 12)), 0


def tile(kind, place):
    """A picture with a brighter part that tells its class, and a corner without numbers."""
    rng = np.random.default_rng((place, len(kind)))
    label = place % 2
    if kind == "npy":
        values = rng.normal(1000 + 300 * np.arange(14), 100, (40, 52, 14)).astype(np.float32)
        values[:, 26:] += 400 * label
        values[NAN_BOX] = np.nan
        return {"input.npy": npy(values.transpose(2, 0, 1))}, values
    values = rng.integers(100, 4000, (40, 52, 6), np.uint16)
    values[:, 26:] += np.uint16(9000 * label)
    values[NAN_BOX] = NODATA
    return {"tif": tiff(values, photometric="minisblack", planarconfig="contig")}, values


@pytest.fixture(scope="module", params=["npy", "tiff"])
def tiles(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    for shard, places in enumerate(np.array_split(np.arange(NUM), 2)):
        with webdataset.TarWriter(str(folder / f"tiles-{shard:06d}.tar")) as tar:
            for place in places.tolist():
                image, _ = tile(request.param, place)
                tar.write({"__key__": f"{place:04d}", "cls": str(place % 2).encode(), **image})
    return request.param, folder


def numbers(kind):
    if kind == "npy":
        mean = tuple(float(1000 + 300 * one) for one in range(14))
        return {"dtype": "float32", "mean": mean, "std": (250.0,) * 14}
    told = {"dtype": "uint16", "nodata": float(NODATA), "channels": (5, 0, 3)}
    return told | {"mean": (4000.0,) * 3, "std": (3000.0,) * 3}


def of(config, kind, **data):
    changes = numbers(kind) | {"vflip": 0.5, "quarter_turns": True} | data
    if hasattr(config.data, "rand_augment"):
        changes["rand_augment"] = ""
    model = replace(config.model, img_size=(24, 40), window_size=((3, 5), (3, 5)))
    return replace(config, data=replace(config.data, **changes), model=model)


def pretraining(run_dir, tiles, **training):
    kind, shards = tiles
    return of(pretrain_config(run_dir, shards, **training), kind)


@pytest.fixture(scope="module")
def straight(tiles, tmp_path_factory):
    return train(pretraining(tmp_path_factory.mktemp("straight") / "run", tiles))


def test_killed_it_ends_bit_equal(straight, tiles, tmp_path):
    config = pretraining(tmp_path / "run", tiles)
    for step in (4, 9):
        assert interrupt(config, step, signal.SIGKILL) == {-signal.SIGKILL}
    assert finish(start(config)) == {0}
    before, after = checkpoint(straight), checkpoint(tmp_path / "run")
    for part in ("model", "optimizer", "step", "samples_seen", "metrics"):
        assert_equal(before[part], after[part], part)


def test_on_other_layouts_it_learns_the_same(tiles, tmp_path):
    curves = []
    for place, layout in enumerate([(1, 24, 0), (2, 5, 0), (1, 7, 1)]):
        devices, micro, workers = layout
        made = {"devices": devices, "micro_batch_size": micro, "precision": "fp64"}
        config = pretraining(tmp_path / str(place), tiles, **made)
        data = replace(config.data, num_workers=workers)
        optim = replace(config.optim, epochs=2)
        folder = train(replace(config, data=data, optim=optim))
        curves.append([points(folder, f"{name}") for name in ("train/loss", "heldout/loss")])
    assert len(curves[0][0]) == 8
    for curve in curves[1:]:
        for found, wanted in zip(curve, curves[0], strict=True):
            assert found == pytest.approx(wanted, rel=1e-9)


def test_it_learns_and_is_drawn(straight):
    loss = points(straight, "train/loss")
    assert loss[max(loss)] < 0.9 * loss[min(loss)]
    assert list((straight / "panels").glob("*.png"))


def test_up_to_the_batch_numbers_are_those_of_the_file(tiles):
    kind, shards = tiles
    data = numbers(kind)
    names = ("dtype", "channels", "channel_axis", "nodata", "picture_channels")
    settings = {"decoder": "fast", "max_pixels": 10_000, "black": 0.0, "white": None}
    settings |= dict.fromkeys(names) | {name: data[name] for name in names if name in data}
    reading = Reading.of(type("Settings", (), settings)())
    stream = ImageStream(open_shards(shards), None, (40, 52), len(data["mean"]), True, reading)
    stream.renderer = replace(
        stream.renderer, transform=replace(stream.renderer.transform, crop_pct=1.0)
    )
    batch = stream.read(Share(0, np.arange(NUM)))
    for place in range(NUM):
        values = tile(kind, place)[1]
        values = values[:, :, list(data.get("channels", range(values.shape[2])))]
        found = batch["image"][place].numpy().transpose(1, 2, 0)
        np.testing.assert_array_equal(found, values, strict=True)
        assert batch["label"][place] == place % 2


def test_fine_tuned_it_predicts_and_is_handed_on(straight, tiles, tmp_path, capsys):
    kind, shards = tiles
    run_dir = tmp_path / "finetune"
    words = [
        "finetune",
        "--encoder",
        straight,
        "--data.shards",
        shards,
        "--data.val-shards",
        shards,
    ]
    words += ["--optim.epochs=12", "--run-dir", run_dir, "--training.accelerator=cpu"]
    assert run([str(one) for one in words]) == 0
    assert "data.dtype=" in capsys.readouterr().out
    (tmp_path / "images").mkdir()
    for place in range(6):
        (name, data) = next(iter(tile(kind, place)[0].items()))
        (tmp_path / f"images/{place}.{name.rpartition('.')[2]}").write_bytes(data)
    table = tmp_path / "predictions.csv"
    assert run(["predict", str(run_dir), str(tmp_path / "images"), "-o", str(table)]) == 0
    said = [line.split(",")[1] for line in table.read_text().splitlines()[1:]]
    assert said == ["0", "1"] * 3
    assert run(["evaluate", str(run_dir), "--data", str(shards)]) == 0
    assert "top-1 100.00 %" in capsys.readouterr().out
    assert list((run_dir / "held-out").rglob("*")) or list(run_dir.rglob("mistakes.png"))
    classifier = load_classifier(run_dir)
    files = sorted((tmp_path / "images").iterdir())
    assert [one.names[0] for one in classifier.predict(files)] == ["0", "1"] * 3
    encoder = load_encoder(straight)
    given = encoder.preprocess(files)
    whole = [tile(kind, place)[1] for place in range(6)]
    assert torch.equal(encoder.preprocess(whole), given)
    features = encoder(given)
    assert features.isfinite().all()
    assert encoder.img_size == (24, 40)


def test_what_holds_no_number_counts_in_no_loss(tiles, tmp_path):
    built = build(pretraining(tmp_path / "run", tiles))
    module, batch = built.module, built.stream.read(Share(0, np.arange(24)))
    there = module.normalise.there(batch["image"])
    assert 0.02 < 1 - there.float().mean() < 0.5
    images = module.normalise(batch["image"])
    assert (images[~there] == 0).all()
    mask = module.masking.draw(batch["index"], 0)
    module.eval()
    with torch.no_grad():
        loss = module.network.error_per_image(images, mask, there)
        other = images.masked_fill(~there, 0.0)
        rebuilt = module.network.reconstruct(other, mask)
    hidden = mask.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, None] & there
    for place in range(24):
        error = (rebuilt[place] - images[place]).abs()[hidden[place]]
        assert loss[place].item() == pytest.approx(error.mean().item(), rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dtype": "uint8"}, "none of 4 images looked at can be read: it holds"),
        ({"channels": (90,), "mean": (1.0,), "std": (1.0,)}, "data.channels asks for number 90"),
        ({"channels": None, "mean": (1.0, 2.0), "std": (1.0, 1.0)}, "and data.mean 2"),
    ],
)
def test_settings_that_no_image_fits_are_told_before_anything_starts(
    tiles, tmp_path, changes, said
):
    kind, _ = tiles
    if "nodata" in numbers(kind):
        changes = {"nodata": None} | changes
    config = pretraining(tmp_path / "run", tiles)
    config = replace(config, data=replace(config.data, **changes))
    with pytest.raises(UserError) as caught:
        life.run(config)
    assert said in str(caught.value)
    assert not (tmp_path / "run" / "lives.jsonl").exists()


@pytest.mark.parametrize("form", ["safetensors", "timm", "onnx"])
def test_it_is_exported_and_gives_the_same_features(straight, tiles, tmp_path, form):
    kind, _ = tiles
    out = tmp_path / form
    assert run(["export", str(straight), "--format", form, "-o", str(out)]) == 0
    encoder = load_encoder(straight)
    images = encoder.preprocess([tile(kind, place)[1] for place in range(3)])
    with torch.no_grad():
        wanted = encoder(images)
    if form == "onnx":
        session = onnxruntime.InferenceSession(next(out.glob("*.onnx")))
        (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-3, atol=1e-4)
    else:
        given = {"img_size": (24, 40), "window_size": ((3, 5), (3, 5))} if form == "timm" else {}
        with torch.no_grad():
            found = load_encoder(out, **given)(images)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    told = (out / "README.md").read_text()
    assert f"take the numbers as they are ({numbers(kind)['dtype']}" in told
