"""Loader processes decode beside a training on the device what they decode beside the CPU's."""

import io
from dataclasses import replace

import numpy as np
import pytest
import webdataset
from PIL import Image

from ssl_swin.record.lines import read_lines
from tests.gpu.device import ACCELERATOR, tolerate_warnings
from tests.training.launch import RGB, finish, pretrain_config, start

NUM, TRUNCATED, CMYK, GREY = 96, {5, 50, 51}, {7, 8, 60}, {20, 70}


def jpeg(seed):
    mode = "CMYK" if seed in CMYK else "L" if seed in GREY else "RGB"
    pixels = np.random.default_rng(seed).bytes(6 * 5 * len(Image.new(mode, (1, 1)).getbands()))
    buffer = io.BytesIO()
    Image.frombytes(mode, (6, 5), pixels).resize((60 + seed, 50)).save(buffer, "JPEG")
    data = buffer.getvalue()
    return data[: len(data) // 3] if seed in TRUNCATED else data


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    for shard in range(2):
        with webdataset.TarWriter(str(folder / f"part-{shard}.tar")) as tar:
            for place in range(shard * NUM // 2, (shard + 1) * NUM // 2):
                tar.write({"__key__": f"{place:04d}", "jpg": jpeg(place)})
    return folder


def train(run_dir, shards, decoder, accelerator):
    config = pretrain_config(run_dir, shards, accelerator=accelerator, panel_every_epochs=0)
    given = {**RGB, "num_workers": 2}
    data = replace(config.data, val_shards=None, decoder=decoder, max_bad_share=0.5, **given)
    optim = replace(config.optim, epochs=1, warmup_epochs=0.5)
    config = replace(config, data=data, optim=optim)
    assert finish(start(config, prepare=tolerate_warnings)) == {0}
    lines = read_lines(run_dir / "metrics.jsonl")
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    used = read_lines(run_dir / "ledger" / "rank-0000.jsonl")
    bad = read_lines(run_dir / "bad_samples.jsonl")
    return losses, used, [{k: v for k, v in line.items() if k != "time"} for line in bad]


@pytest.mark.parametrize("decoder", ["fast", "pil"])
def test_images_and_the_bad_among_them_are_those_of_the_cpu(tmp_path, shards, decoder):
    losses, used, bad = train(tmp_path / "here", shards, decoder, "cpu")
    there = train(tmp_path / "there", shards, decoder, ACCELERATOR)
    assert there[1:] == (used, bad)
    assert len(bad) == len(TRUNCATED)
    assert there[0] == pytest.approx(losses, rel=1e-3)
