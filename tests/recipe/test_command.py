import shutil

import numpy as np
import pytest

from ssl_swin.__main__ import run
from ssl_swin.recipe import measure as measure_module
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import read_summary
from tests.conftest import png
from tests.data.pixels.test_array_files import npy, tiff


@pytest.fixture(autouse=True)
def briefly(monkeypatch):
    monkeypatch.setattr(measure_module, "STEPS_S", 0.01)
    monkeypatch.setattr(measure_module, "LOADER_S", 0.01)


@pytest.fixture
def split(tiny_shards, tmp_path):
    """What `shards create --split` writes."""
    for name, count in (("train", 16), ("val", 4)):
        shutil.copytree(tiny_shards([count], mode="RGB"), tmp_path / "mine" / name)
    return tmp_path / "mine"


def test_what_a_recipe_writes_trains_as_it_is(split, tmp_path, capsys):
    config, runs = tmp_path / "my.yaml", tmp_path / "runs"
    words = ["--for", "cpu", "--run-dir", str(runs)]
    assert run(["recipe", str(split), "-o", str(config), *words]) == 0
    told = capsys.readouterr().out
    assert "16 RGB images" in told
    assert f"ssl-swin pretrain {config}" in told
    assert f"--data.val-shards {split}/val" in told
    brief = ["--optim.epochs=1", "--optim.warmup-epochs=0", "--training.num-threads=1"]
    assert run(["pretrain", str(config), *brief, "--data.num-workers=0"]) == 0
    summary = read_summary(RunFolder(runs / "pretrain"))
    assert summary is not None
    assert summary.heldout_loss is not None


def test_the_config_may_be_printed_and_is_the_same_again(split, capsys):
    texts = []
    for _ in range(2):
        assert run(["recipe", str(split), "--for=cpu"]) == 0
        out = capsys.readouterr().out
        texts.append([line for line in out.splitlines() if not line.startswith("# ")])
    assert texts[0] == texts[1]
    assert "model:" in texts[0]


def test_a_folder_of_files_is_packed_first(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    for number in range(8):
        (tmp_path / "photos" / f"{number}.png").write_bytes(png(number, mode="RGB"))
    assert run(["recipe", str(tmp_path / "photos"), "-o", str(tmp_path / "my.yaml")]) == 0
    told = capsys.readouterr().out
    assert "pack them first" in told
    create = f"ssl-swin shards create {tmp_path}/photos shards/photos --split val=0.1"
    assert (tmp_path / "my.yaml").read_text().startswith(f"# {create}\n")


def test_a_config_that_is_there_stays_unless_asked(split, tmp_path, capsys):
    config = tmp_path / "my.yaml"
    config.write_text("mine")
    assert run(["recipe", str(split), "-o", str(config)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert config.read_text() == "mine"
    assert run(["recipe", str(split), "-o", str(config), "--for=cpu", "--force"]) == 0
    assert "run_dir: runs/mine/pretrain" in config.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hours=1", "--minutes=5"], "both say how long"),
        (["--minutes=0"], "--minutes 0: give a time"),
        (["-o", "my.txt"], "ends with .yaml"),
        (["-o", "."], "ends with .yaml"),
        (["--for=phone"], "give auto, cpu, gpu or slurm"),
        (["--for=slurm"], "SLURM is not here"),
    ],
)
def test_what_cannot_be_is_one_line(split, words, message, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["recipe", str(split), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def tile(place, chans, dtype):
    """A picture of two textures, each band of it of another mean."""
    rows, cols = np.mgrid[:40, :40]
    wave = np.sin((rows if place % 2 else cols) / 3)
    values = 2000 + 300 * np.arange(chans) + 200 * wave[..., None]
    return (values + np.random.default_rng(place).normal(0, 20, values.shape)).astype(dtype)


def folder_of(root, kind):
    for place in range(24):
        where = root / "rows" if place % 2 else root / "columns"
        where.mkdir(parents=True, exist_ok=True)
        if kind == "npy":
            file = npy(tile(place, 14, np.float32).transpose(2, 0, 1))
        else:
            values = tile(place, 6, np.uint16)
            values[:4, :4] = 0
            file = tiff(values, photometric="minisblack", planarconfig="contig")
        (where / f"{place}.{kind}").write_bytes(file)


@pytest.mark.parametrize(
    ("kind", "told", "names"),
    [
        ("npy", ["--no-up"], ["dtype: float32", "vflip: 0.5", "quarter_turns: true"]),
        (
            "tif",
            ["--nodata=0"],
            ["dtype: uint16", "nodata: 0.0", "channels: [a, b, c, d, e, f]"],
        ),
    ],
)
def test_images_of_any_numbers_are_packed_pretrained_and_fine_tuned(
    kind, told, names, tmp_path, capsys
):
    folder_of(tmp_path / "tiles", kind)
    assert run(["recipe", str(tmp_path / "tiles"), "--for=cpu", *told]) == 0
    text = capsys.readouterr().out
    assert ("14 channels, float32" if kind == "npy" else "6 channels, uint16") in text
    shards, config, runs = tmp_path / "shards", tmp_path / "my.yaml", tmp_path / "runs"
    words = ["--split=val=0.25", "--num-workers=1"] + ["--channel-names=a,b,c,d,e,f"] * (
        kind == "tif"
    )
    assert run(["shards", "create", str(tmp_path / "tiles"), str(shards), *words]) == 0
    words = ["--for=cpu", "--run-dir", str(runs), "-o", str(config), *told]
    assert run(["recipe", str(shards), *words]) == 0
    written = config.read_text()
    for name in names:
        assert name in written
    brief = ["--optim.epochs=1", "--optim.warmup-epochs=0", "--training.num-threads=1"]
    brief += ["--data.num-workers=0"]
    assert run(["pretrain", str(config), *brief]) == 0
    capsys.readouterr()
    words = ["--data.shards", f"{shards}/train", "--data.val-shards", f"{shards}/val"]
    words += ["--run-dir", str(runs / "finetune"), "--training.accelerator=cpu"]
    assert run(["finetune", "--encoder", str(runs / "pretrain"), *words, *brief]) == 0
    summary = read_summary(RunFolder(runs / "finetune"))
    assert summary is not None
    assert summary.top1 is not None
