import json
import subprocess
import sys

import numpy as np
import pytest
from pyarrow import parquet

from ssl_swin.__main__ import run

CPU = ["--device=cpu", "--num-workers=0"]


@pytest.fixture
def words(encoder_run, noise, tmp_path):
    cache = f"--cache-dir={tmp_path / 'cache'}"
    return ["embed", str(encoder_run()), "--data", str(noise), cache, *CPU]


def test_the_command_writes_features_with_keys_and_labels(words, tmp_path, capsys):
    for name in ("a.parquet", "a.npy", "a.npy"):
        assert run([*words, "-o", str(tmp_path / name)]) == 0
    table = parquet.read_table(tmp_path / "a.parquet").to_pydict()
    assert table["key"][:2] == ["000000", "000001"]
    assert table["label"] == [place % 10 for place in range(300)]
    values, told = np.load(tmp_path / "a.npy"), json.loads((tmp_path / "a.json").read_text())
    assert values.shape == (300, 16)
    assert np.array_equal(np.float32(table["features"][7]), values[7])
    assert table["features"][3] is None
    assert told["broken"] == [3, 290]
    shown = capsys.readouterr().out
    assert "they are of an encoder with its card" in shown
    assert shown.count("are in the cache") == 2
    assert "a.npy: 300 images, 16 features each, layer last" in shown


@pytest.mark.parametrize("left", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_a_rank_that_some_job_left_behind_is_none(words, tmp_path, monkeypatch, capsys, left):
    monkeypatch.setenv(left, "1")
    assert run([*words, "-o", str(tmp_path / "a.npy")]) == 0
    assert np.load(tmp_path / "a.npy").shape == (300, 16)
    assert "a.npy: 300 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (["--layer", "stage7"], "the nearest are stage"),
        (["-o", "a.txt"], "must end in .npy or .parquet"),
        (["--devices", "0"], "devices=0 leaves nobody to work"),
        (["--device", "cuda:64"], "device=cuda:64"),
        (["--data", "nowhere"], "shards=nowhere matches no tar"),
    ],
)
def test_mistakes_are_one_line(words, tmp_path, capsys, change, told):
    assert run([*words, "-o", str(tmp_path / "a.npy"), *change]) == 2
    shown = capsys.readouterr().err
    assert told in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize("held", ["nothing", "config", "half a checkpoint"])
def test_run_folders_without_an_encoder_are_one_line(words, tmp_path, trained, capsys, held):
    folder = trained[1]
    (folder / "encoder.safetensors").unlink()
    last = folder / "checkpoints" / "last.ckpt"
    if held == "half a checkpoint":
        last.write_bytes(last.read_bytes()[:1000])
    else:
        last.unlink()
    if held == "nothing":
        (folder / "config.yaml").unlink()
    words[1] = str(folder)
    assert run([*words, "-o", str(tmp_path / "a.npy")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_two_processes_write_what_one_does(words, tmp_path):
    assert run([*words, "-o", str(tmp_path / "one.npy")]) == 0
    words = [word.replace("/cache", "/other") for word in words]
    command = [sys.executable, "-m", "ssl_swin", *words, "-o", str(tmp_path / "two.npy")]
    left = subprocess.run(
        [*command, "--devices", "2"], timeout=120, capture_output=True, text=True, check=False
    )
    assert (left.returncode, left.stderr) == (0, "")
    assert (tmp_path / "one.npy").read_bytes() == (tmp_path / "two.npy").read_bytes()
    assert left.stdout.count("features of 300 images at") == 1
    assert list((tmp_path / "other").glob("features/*/rank-1"))


def test_a_signal_leaves_with_75_and_the_command_goes_on(words, tmp_path):
    output = tmp_path / "a.npy"
    code = f"""
import os, signal, sys
from ssl_swin.__main__ import run
from ssl_swin.features.store import Store
write = Store.write
def signalled(self, *block):
    write(self, *block)
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
Store.write = signalled
sys.exit(run({[*words, "-o", str(output)]!r}))
"""
    command = [sys.executable, "-c", code]
    left = subprocess.run(command, timeout=120, capture_output=True, text=True, check=False)
    assert left.returncode == 75
    assert "stopped by SIGTERM: features that are computed are kept" in left.stderr
    assert len(list(tmp_path.glob("cache/features/*/block-*.npz"))) == 1
    assert not output.exists()
    assert run([*words, "-o", str(output)]) == 0
    assert np.load(output).shape == (300, 16)
