"""The names of `import ssl_swin`, and the blocks of docs/api.md, run as they are written."""

import ast
import json
import multiprocessing
import pydoc
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import ssl_swin
from ssl_swin import signals
from ssl_swin.__main__ import run
from ssl_swin.command_line import read_config
from ssl_swin.data.order.lanes import Share
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs.build import build
from tests.data.pixels.pictures import encoded, photograph
from tests.data.shards.tars import write_tar

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
CLASSES = ["cat", "dog"]
TINY = [
    *("--model.img_size=64", "--model.embed_dim=16", "--model.depths=[1,1]"),
    *("--model.num_heads=[1,2]", "--model.window_size=4", "--data.num_workers=0"),
    *("--training.num_threads=1", "--training.global_batch_size=4", "--optim.epochs=1"),
    *("--optim.warmup_epochs=0", "--data.mean=[0.5,0.5,0.5]", "--data.std=[0.2,0.2,0.2]"),
    *("--data.crop_pct=0.8", "--data.white=1000"),
]


def test_importing_the_package_imports_nothing_else():
    code = "import sys; before = {*sys.modules}; import ssl_swin; print({*sys.modules} - before)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT)
    loaded = ast.literal_eval(told.stdout.decode())
    assert "ssl_swin" in loaded
    assert {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names == {"ssl_swin"}
    assert [name for name in loaded if name.startswith("ssl_swin.")] == []


def test_every_name_is_there_and_has_a_manual():
    assert ssl_swin.__all__ == sorted(ssl_swin.__all__)
    assert {*ssl_swin.__all__} == ssl_swin._ROOMS.keys()
    for name in ssl_swin.__all__:
        found = getattr(ssl_swin, name)
        assert found.__module__ == f"ssl_swin.{ssl_swin._ROOMS[name]}"
        assert len(found.__doc__) > 60
        assert name in dir(ssl_swin)
    assert "preprocess" in pydoc.render_doc(ssl_swin.load_encoder)
    with pytest.raises(AttributeError, match="module 'ssl_swin' has no attribute 'load_model'"):
        ssl_swin.load_model  # noqa: B018


def test_type_checkers_see_every_name_where_it_is():
    tree = ast.parse(Path(ssl_swin.__file__).read_text(encoding="utf-8"))
    (guarded,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {one.name: node.module for node in guarded.body for one in node.names}
    assert seen == {name: f"ssl_swin.{room}" for name, room in ssl_swin._ROOMS.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what the page names: photographs, shards, folders of classes, two runs."""
    root = tmp_path_factory.mktemp("api")
    images = [encoded(photograph((90, 80), seed=n), "JPEG") for n in range(8)]
    for folder in (
        "photos",
        "shards/mine/train",
        "shards/mine/val",
        *(f"folders/{c}" for c in CLASSES),
    ):
        (root / folder).mkdir(parents=True)
    for n, data in enumerate(images):
        (root / "photos" / f"{'abcdefgh'[n]}.jpg").write_bytes(data)
        (root / "folders" / CLASSES[n % 2] / f"{n}.jpg").write_bytes(data)
    members = [
        member
        for n, data in enumerate(images)
        for member in ((f"{n}.jpg", data), (f"{n}.cls", b"%d" % (n % 2)))
    ]
    for part in ("train", "val"):
        write_tar(root / "shards/mine" / part / "a.tar", members)
        (root / "shards/mine" / part / "classes.json").write_text(json.dumps(CLASSES))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        data = ["--data.shards=shards/mine/train", "--data.val_shards=shards/mine/val", *TINY]
        config = ROOT / "configs" / "pretrain" / "demo.yaml"
        assert run(["pretrain", str(config), "--run_dir=runs/mine/pretrain", *data]) == 0
        config = ROOT / "configs" / "finetune" / "demo.yaml"
        words = ["--encoder=runs/mine/pretrain", "--num_classes=2", "--data.num_labels=null"]
        assert run(["finetune", str(config), "--run_dir=runs/mine/finetune", *words, *data]) == 0
    yield root
    signals.forget()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for process in multiprocessing.active_children():
        process.kill()


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_what_is_loaded_sees_and_says_what_the_run_measured(place, monkeypatch, kind):
    monkeypatch.chdir(place)
    config, _ = read_config(kind, [f"runs/mine/{kind}/config.yaml"])
    ended = build(config)
    paths = [f"photos/{letter}.jpg" for letter in "abcdefgh"]
    pixels = ended.datamodule.heldout.stream.read(Share(0, np.arange(8)))["image"]
    seen = ended.module.normalise(pixels)
    network, encoder = ended.module.network.eval(), ssl_swin.load_encoder(f"runs/mine/{kind}")
    assert (encoder.card.crop_pct, encoder.card.white) == (0.8, 1000.0)
    assert torch.equal(encoder.preprocess(paths), seen)
    with torch.no_grad():
        assert torch.equal(encoder.maps(pixels), network.encoder(seen))
        if kind == "finetune":
            classifier = ssl_swin.load_classifier("runs/mine/finetune")
            assert torch.equal(classifier.preprocess(paths), seen)
            assert torch.equal(classifier(pixels), network(seen))
            assert classifier.classes == (*CLASSES,)


def test_a_run_that_has_not_ended_has_its_weights_in_its_checkpoint(place, tmp_path):
    folder = RunFolder(place / "runs/mine/pretrain")
    running = RunFolder(tmp_path)
    running.last.parent.mkdir()
    shutil.copy(folder.last, running.last)
    with pytest.raises(FileNotFoundError, match=r"has not ended; .*last.ckpt holds its weights"):
        ssl_swin.load_encoder(tmp_path)
    there, here = ssl_swin.load_encoder(running.last), ssl_swin.load_encoder(folder.root)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, 64, 64), np.uint8))
    assert torch.equal(there(pixels), here(pixels))


# A small network, where the page has one that somebody would train.
SMALL = (
    "img_size=32, window_size=4, embed_dim=8, depths=(1, 1), num_heads=(1, 2), mask_patch_size=8"
)
SMALLER = {
    "img_size=192, window_size=6": SMALL,
    "img_size=192": "img_size=32",
    "RandomResizedCrop(192": "RandomResizedCrop(32",
    'pretrain_module("swin_tiny_patch4_window7_224"': (
        f'pretrain_module(ssl_swin.SimMIM.of("swin_tiny_patch4_window7_224", {SMALL})'
    ),
}
BLOCKS = re.findall(r"^## (.+?)$|^```python\n(.*?)^```$", PAGE, flags=re.M | re.S)


def smaller(code):
    for large, small in SMALLER.items():
        code = code.replace(large, small)
    return code


@pytest.mark.filterwarnings("ignore:The `srun` command is available")
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no")
@pytest.mark.filterwarnings("ignore:.*smaller than the logging interval")
@pytest.mark.filterwarnings("ignore:.*`isinstance\\(treespec, LeafSpec\\)` is deprecated")
@pytest.mark.parametrize(
    "written", [smaller, pytest.param(str, marks=pytest.mark.slow)], ids=["smaller", "as it is"]
)
def test_every_block_of_the_page_runs(place, monkeypatch, capsys, written):
    monkeypatch.chdir(place)
    heading, told = "", {}
    for title, code in BLOCKS:
        heading = title or heading
        if code:
            names = {"__name__": heading}
            exec(compile(written(code), f"docs/api.md: {heading}", "exec"), names)
            told[heading] = told.get(heading, "") + capsys.readouterr().out
    assert "torch.Size([2, 32])" in told["Features of my images"]
    assert told["Nearest neighbours"].startswith("['photos/a.jpg' ")
    assert all(told["Classify"].count(repr(name)) == 2 for name in CLASSES)
    losses = told["Dense features, for detection and segmentation"].split()[1::2]
    assert float(losses[-1]) < float(losses[0])
    assert told["Read shards"].endswith("cat\n")
    assert len(told["A loop of one's own"].splitlines()) == 2
    names = ssl_swin.__all__
    assert [name for name in names if not re.search(rf"[`.]{name}\b", PAGE)] == []


def test_every_replacement_is_for_something_on_the_page():
    assert all(large in PAGE for large in SMALLER)
