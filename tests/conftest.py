"""Small real things that several tests build on."""

import io
import math
import multiprocessing
import os
import shutil
import signal
import threading
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import torch

if not torch.cuda.is_available():  # before Triton is imported: its kernels run on the CPU, slowly
    os.environ.setdefault("TRITON_INTERPRET", "1")

import numpy as np
import pytest
import webdataset
from PIL import Image

from ssl_swin import machine, phases, signals
from ssl_swin.errors import MachineError, UserError
from tests.messages import faults

phases.FIRST_S = threading.TIMEOUT_MAX  # else a busy machine says more than an idle one
machine.CROWDED = math.inf  # likewise

TINY_MODEL = [
    "--model.embed-dim=16",
    "--model.depths=[1,1]",
    "--model.num-heads=[1,2]",
    "--training.num-threads=1",
    "--data.num-workers=0",
]


@pytest.fixture(autouse=True)
def provoked(monkeypatch):
    """Looks at each message that a test provokes in this process, and lists misfits."""
    wrong = []
    for kind in (UserError, MachineError):
        parent = kind.__bases__[0]

        def look(self, *args, parent=parent):
            parent.__init__(self, *args)
            # torch makes an error anew for the main process, with a worker's traceback in it
            if faults(str(self)) and not str(self).startswith("Caught "):
                wrong.append(f"{type(self).__name__}: {self}")

        monkeypatch.setattr(kind, "__init__", look)
    yield wrong
    assert wrong == []


def png(seed, size=(28, 28), mode="L"):
    """A noise image, different for every seed."""
    shape = (size[1], size[0], len(mode)) if len(mode) > 1 else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def tiny_shards(tmp_path_factory):
    """Factory of shard folders: samples of each tar, and the places of unreadable ones.

    Sample `i` of the set is `png(i)` of class `i % 10`.
    """

    def make(counts, broken=(), mode="L"):
        folder = tmp_path_factory.mktemp("shards")
        place = 0
        for shard, count in enumerate(counts):
            with webdataset.TarWriter(str(folder / f"tiny-{shard:06d}.tar")) as tar:
                for _ in range(count):
                    data = b"no image" if place in broken else png(place, mode=mode)
                    tar.write({"__key__": f"{place:06d}", "png": data, "cls": place % 10})
                    place += 1
        return folder

    return make


@pytest.fixture(scope="session")
def two_step_run(tiny_shards, tmp_path_factory):
    """A pretraining run of two steps over 16 images: its arguments and its folder."""
    from ssl_swin.__main__ import run

    arguments = [
        "pretrain",
        "configs/pretrain/demo.yaml",
        f"--data.shards={tiny_shards([9, 7])}",
        "--data.val-shards=null",
        "--optim.epochs=1",
        "--optim.warmup-epochs=0",
        "--training.global-batch-size=8",
        *TINY_MODEL,
    ]
    folder = tmp_path_factory.mktemp("two_step_run") / "run"
    assert run([*arguments, f"--run-dir={folder}"]) == 0
    return arguments, folder


@pytest.fixture
def trained(two_step_run, tmp_path):
    """A copy of the two-step run: its arguments and its folder."""
    arguments, folder = two_step_run
    shutil.copytree(folder, tmp_path / "run")
    return arguments, tmp_path / "run"


@pytest.fixture(scope="session")
def vit(tmp_path_factory):
    """A ViT of timm of three classes, and its weights in a file of `torch.save`."""
    import timm

    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=3).eval()
    file = tmp_path_factory.mktemp("vit") / "vit.pth"
    torch.save(model.state_dict(), file)
    return model, file


@pytest.fixture
def in_the_checkout(monkeypatch):
    """Commands run in this process as if started in the checkout, and leave nothing behind."""
    monkeypatch.chdir(Path(__file__).parents[1])
    yield
    signals.forget()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would take what follows for an accident
    for process in multiprocessing.active_children():  # as `main` does; they would be waited for
        process.kill()


@pytest.fixture
def short_timing(monkeypatch):
    """Let a dry run, and whoever looks for a micro-batch, time for a moment only."""
    monkeypatch.setattr("ssl_swin.runs.describe.STEPS_S", 0.01)
    monkeypatch.setattr("ssl_swin.runs.describe.LOADER_S", 0.01)
    monkeypatch.setattr("ssl_swin.runs.micro_batch.STEPS_S", 0.01)
