"""Every script of benchmarks/ runs to its end at its smallest setting."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(
    path.name for path in ROOT.glob("benchmarks/*.py") if "__main__" in path.read_text("utf-8")
)
RUN = "configs/pretrain/demo.yaml --training.num-threads 1 --data.num-workers 0"
# Arguments of each script, and what it prints once it has come to its end. OUT is a fresh folder.
SMALLEST = {
    "ablations.py": (
        "--out OUT --seeds 1 --rows Swin --rounds 1 --pretrain-epochs 1 --finetune-epochs 1"
        " -- --data.shards data/fashion-mnist-sample/train-000000.tar",
        "| Swin | ",
    ),
    "against.py": (
        "--out OUT --rounds 1 --images 8 --batch 4 --checkout .",
        "fine-tuning without erasing, a batch: in all | now |",
    ),
    "board_overhead.py": ("configs/pretrain/demo.yaml --stretches 2", "At the end, once: Panels "),
    "demo_search.py": (
        "--out OUT --seeds 1 --base-lr 0.1 --epochs 1 -- --optim.epochs 1 --optim.warmup-epochs 0"
        " --data.shards data/fashion-mnist-sample/train-000000.tar --training.num-threads 1",
        "| scratch | 0.1 | 1 |",
    ),
    "demo_spread.py": (
        "--out OUT --pretrainings 1 --finetunings 1 --threads 1 -- --optim.epochs 1"
        " --optim.warmup-epochs 0 --data.shards data/fashion-mnist-sample/train-000000.tar",
        "| gained | - | ",
    ),
    "gpu.py": (
        "--out OUT --seconds 0.05 --images 8 --workers 1",
        "\nsaved: OUT/gpu_",
    ),
    "gpu_attention.py": (
        "",
        "no GPU here" if not torch.cuda.is_available() else "| must be moved |",
    ),
    "memory.py": ("--minutes 0.02 --every 0.3 --workers 1", "in the first quarter"),
    "methods.py": (
        "DATA --task fashion-mnist --out OUT --calibrate --rounds 1 --only hog --"
        ' --data.sets [{"shards":"data/fashion-mnist-sample/train-000000.tar","weight":1}]'
        " --training.num-threads 1",
        "| hog | ",
    ),
    "monitor_overhead.py": (
        "configs/pretrain/demo.yaml --stretches 1",
        "of the time from look to look: ",
    ),
    "order.py": ("--on-disk 20 --shards 10 --batch 256 --small 20", "| 8 | 256 |"),
    "overhead.py": ("--processes 1 --rounds 1 --steps 100", "| 1 | ours |"),
    "ranks.py": (
        "--gpus 8 --plot OUT.svg --measure --out OUT --measure-mb 1 --processes 1 2 --exchanges 20"
        " --rounds 1",
        "A checkpoint has 1.08 GB",
    ),
    "quality.py": (
        "DATA --task fashion-mnist --out OUT --only pretrain --seeds 1 -- --optim.epochs 1"
        " --optim.warmup-epochs 0 --data.shards data/fashion-mnist-sample/train-000000.tar",
        "1 of ",
    ),
    "scaling.py": (
        "--img-size 32 64 --at 64 --batches 1 2 --processes 1 2 --images-per-process 1 --rounds 1"
        " --threads 1 --swin-dim 12 --vit-dim 12 --window-size 4 --plot OUT.svg",
        "| 2 | ",
    ),
    "step.py": (
        "--model demo --rounds 1 --threads 1 --sides ours,timm --batch 2",
        "| side | ms | timm / side |",
    ),
    "stop.py": (f"--processes 1 --rounds 1 --at-step 2 -- {RUN}", "| 1 | 4 |"),
    "targets.py": (
        "--side 64 --window-size 2 --batch 1 --rounds 1 --teacher test_vit",
        "| hog at the last two stages | ",
    ),
    "stream.py": ("--out OUT --rounds 1 --images 10 --batch 6", "64 pixels, half scale"),
}


commands = pytest.mark.commands  # a minute and more, so not part of `make test`


def run(*arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def small(script, tmp_path):
    for name in ("train", "test"):
        (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
    places = {"OUT": tmp_path / "out", "DATA": tmp_path / "data"}
    return [
        str(places.get(word, word)).replace("OUT", str(tmp_path / "out"))
        for word in SMALLEST[script][0].split()
    ]


@commands
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_benchmark_runs_to_its_end(script, tmp_path):
    done = run(f"benchmarks/{script}", *small(script, tmp_path))
    assert done.returncode == 0, done.stderr
    assert SMALLEST[script][1].replace("OUT", str(tmp_path / "out")) in done.stdout


def test_every_benchmark_has_its_smallest_setting_in_the_table():
    assert set(SMALLEST) == set(SCRIPTS)


def test_every_benchmark_is_on_the_page():
    page = (ROOT / "benchmarks/README.md").read_text("utf-8")
    assert [script for script in SCRIPTS if f"| `{script}` |" not in page] == []


def test_the_page_on_scaling_shows_what_its_program_says(tmp_path):
    done = run("benchmarks/ranks.py", "--plot", str(tmp_path / "scaling.svg"))
    assert done.returncode == 0, done.stderr
    page = (ROOT / "docs/scaling.md").read_text("utf-8").splitlines()
    tables = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(tables) > 60
    assert tables == [line for line in page if line.startswith("|")]
    drawn = (tmp_path / "scaling.svg").read_text("utf-8")
    assert drawn == (ROOT / "docs/scaling.svg").read_text("utf-8")
    assert len(ElementTree.fromstring(drawn).findall("{*}path")) > 10


@commands
def test_peers_that_are_not_installed_are_named_and_left_out(tmp_path):
    absent = ["litdata", "nvidia.dali", "skimage", "sklearn"]
    code = (
        "import runpy, sys\n"
        f"sys.modules.update(dict.fromkeys({absent}))  # None: an import fails\n"
        "sys.path.insert(0, 'benchmarks')\n"
        "runpy.run_path('benchmarks/stream.py', run_name='__main__')\n"
    )
    done = run("-c", code, *small("stream.py", tmp_path))
    assert done.returncode == 0, done.stderr
    assert "- cut from noise, for want of photographs" in done.stdout
    for name in ("litdata", "nvidia.dali"):
        install = "(pip install -e '.[bench]')"
        assert f"- not measured: {name} is not installed {install}\n" in done.stdout
        assert f"\n| {name} |" not in done.stdout


@commands
def test_what_the_budget_of_a_gpu_does_not_reach_is_named():
    done = run("benchmarks/gpu.py", "--budget-s", "0.1")
    assert done.returncode == 0, done.stderr
    assert "- profile: no time was left" in done.stdout


@commands
@pytest.mark.parametrize(
    ("script", "arguments", "told"),
    [
        ("ablations.py", "--seeds 0", "and epochs must be 1 or more"),
        ("demo_spread.py", "--threads 0", "and --threads must be 1 or more"),
        ("against.py", "--out OUT --images 8 --batch 9", "--batch must be 1 to --images"),
        ("gpu.py", "--seconds 0", "--budget-s and --seconds must be greater than 0"),
        ("memory.py", "--minutes 0.01", "--minutes must hold four looks"),
        ("order.py", "--on-disk 5", "--on-disk must be 20 or more"),
        ("overhead.py", "--steps 20", "--steps must be 100 or more"),
        ("ranks.py", "--measure", "--measure needs --out FOLDER"),
        ("ranks.py", "--network-gb-s 0", "--network-gb-s must be greater than 0"),
        ("ranks.py", "--gpus 0", "must be 1 or more"),
        ("scaling.py", "--img-size 48", "--img-size must be multiples of 32"),
        ("scaling.py", "--batches 0", "must be 1 or more"),
        ("step.py", "--rounds 0", "must be 1 or more"),
        ("step.py", "--sides ours,theirs", "--sides: no theirs; there are ours,"),
        ("stop.py", f"--at-step 1 -- {RUN}", "--at-step must be 2 or more"),
        ("stream.py", "--out OUT --images 8", "--images must be 80 or more"),
        ("stream.py", "--out OUT --photos slurm", "--photos slurm holds no jpg"),
    ],
)
def test_settings_that_measure_nothing_are_refused(script, arguments, told, tmp_path):
    arguments = arguments.replace("OUT", str(tmp_path / "out")).split()
    done = run(f"benchmarks/{script}", *arguments)
    assert done.returncode == 2
    assert told in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
