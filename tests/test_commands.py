"""The command blocks of the pages run, each page in a scratch copy of the checkout, in its order.

A block without a language is shell; one in Python runs on what the blocks before it made. Folders
with the pages' placeholder names (IMAGES, SHARDS) are there; SLURM's commands are the stand-ins of
`tests/cluster/`. `RULES` says of every line how it runs.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.cluster.bin import write_programs

ROOT = Path(__file__).parents[1]
PAGES = (
    *("README.md", "data/README.md", "slurm/README.md", "docs/your-images.md", "docs/runs.md"),
    "docs/when-it-does-not-learn.md",
    "docs/your-weights.md",
    "docs/targets.md",
    "docs/recipes.md",
)
NUM_IMAGES = 2400  # of IMAGES: nine tenths are a global batch of the large configs, and a lane's
SAMPLE = "data/fashion-mnist-sample"
SHORT = "--optim.epochs 1 --optim.warmup-epochs 0 --training.num-threads 1"
FEW = f"{SHORT} --data.shards {SAMPLE}/train-000000.tar"  # 500 of the 10,000 images
COLOURS = "--data.mean [0.5,0.5,0.5] --data.std [0.25,0.25,0.25]"
DEMO = "ssl-swin pretrain configs/pretrain/demo.yaml"
LARGE = "ssl-swin pretrain configs/pretrain/swin_base_simmim_100ep.yaml"
# Tars without labels and a table of them; tars with several classes each, and with numbers.
LABELS = f"""
import json, pathlib, tarfile
import webdataset
names, rows = ["healthy", "rust", "scab"], []
images = []
with tarfile.open("{SAMPLE}/pretrain-000000.tar") as tar:
    for number, member in zip(range(60), tar):
        images.append((member.name.partition(".")[0], tar.extractfile(member).read(), number))
for folder in ("late", "scenes", "ages"):
    pathlib.Path("shards", folder).mkdir(parents=True)
    with webdataset.TarWriter(f"shards/{{folder}}/0.tar") as tar:
        for key, image, number in images:
            sample = {{"__key__": key, "png": image}}
            if folder != "late":
                label = 20 + number / 2 if folder == "ages" else names[: number % 4]
                sample["json"] = json.dumps({{"label": label}}).encode()
            tar.write(sample)
rows = [f"{{key}},{{names[number % 3]}}" for key, _, number in images[:50]]
pathlib.Path("labels.csv").write_text("\\n".join(["key,label", *rows]))
"""
# Tiles of six bands, in two folders, which are classes.
TILES = """
import pathlib
import numpy as np
for number in range(30):
    place = pathlib.Path("TILES", f"class-{number % 2}", f"{number}.npy")
    place.parent.mkdir(parents=True, exist_ok=True)
    np.save(place, np.random.default_rng(number).integers(0, 4000, (40, 48, 6), np.uint16))
"""
MADE_BEFORE = {  # page -> what it takes to be there
    "README.md": f"{DEMO} {FEW}",
    "slurm/README.md": "ssl-swin shards create IMAGES shards/mine",
    "docs/your-images.md": f"mkdir -p shards/photos shards/scans; cp {SAMPLE}/test-000000.tar"
    f" shards/photos; cp {SAMPLE}/test-000001.tar shards/scans\n"
    f"{DEMO} {FEW} --run-dir runs/mine/pretrain\npython - <<'END'\n{LABELS}{TILES}END",
    "docs/your-weights.md": f"{DEMO} {FEW} {COLOURS} --model.window-size 4"
    f" --run-dir runs/mine/pretrain; ssl-swin finetune --encoder runs/mine/pretrain {FEW}"
    " --run-dir runs/mine/finetune",
    "docs/runs.md": f"{DEMO} {FEW}; mkdir -p shards; cp -r {SAMPLE} shards/mine",
}
# page -> what reads its block of YAML: the demo with these data, a cluster's file
READS_YAML = {
    "docs/your-images.md": "ssl-swin pretrain BLOCK --dry-run --run-dir runs/yaml"
    " --training.num-threads 1",
    "docs/targets.md": "ssl-swin pretrain BLOCK --dry-run --run-dir runs/yaml"
    " --training.num-threads 1",
    "slurm/README.md": "ssl-swin submit pretrain configs/pretrain/demo.yaml --run-dir runs/yaml"
    " --nodes 1 --cluster BLOCK --dry-run",
}


def as_written(line, more=""):
    """Run it; options in `more` come last, where they win."""
    return f"{line} {more}"


def is_a_target(line):
    """Ask make what it would do: the target installs, runs tests or stays in the foreground."""
    return line.replace("make ", "make -n ", 1)


def is_shell(line):
    """Read it as the shell does, and run nothing: it needs a cluster, or GPUs."""
    return f"bash -n -c {shlex.quote(line)}"


def in_two_processes(line):
    """Run it with two processes on few images."""
    return f"{line.replace('8', '2', 1)} {FEW}"


def has_its_options(line):
    """Look for the line's options in its command's help: it needs a URL, or would not end."""
    words = shlex.split(line)
    options = [word for word in words if word.startswith("--")]
    command = " ".join(words[:2])
    return "\n".join(f"{command} --help | grep -e {option}" for option in options)


def is_queued_too(line):
    """Run it, and once more without `--dry-run`, for the lines after it to find."""
    return f"{line}\n{line.replace(' --dry-run', '')}"


RULES = {  # how a line begins -> how it runs; the first that fits counts
    "make ": is_a_target,
    "pip install": is_shell,
    "source .venv": is_shell,
    f"{DEMO} --training.loggers": has_its_options,  # wandb is not installed
    DEMO: partial(as_written, more=FEW),
    f"{LARGE} --run-dir runs/far": has_its_options,  # s3://bucket
    "ssl-swin pretrain configs/pretrain/continue_1gpu.yaml": as_written,
    "ssl-swin pretrain my.yaml": partial(as_written, more=SHORT),
    "ssl-swin finetune": partial(as_written, more=SHORT),
    "ssl-swin recipe": partial(as_written, more="--for cpu"),  # not for the stand-ins of SLURM
    "ssl-swin configs": as_written,
    **dict.fromkeys(("ssl-swin predict", "ssl-swin evaluate", "ssl-swin export"), as_written),
    "torchrun --nproc-per-node 8": in_two_processes,
    "until torchrun": is_shell,
    "first=$(scontrol": is_shell,
    "export TORCH_": is_shell,
    "srun --kill-on-bad-exit=0 --wait=60 torchrun": is_shell,
    "ssl-swin verdict": is_shell,
    "ssl-swin report runs": as_written,
    "ssl-swin shards ": as_written,
    "ssl-swin doctor": partial(as_written, more="--seconds 1"),
    "ssl-swin submit pretrain configs/pretrain/swin_base": is_queued_too,
    "ssl-swin submit pretrain configs/pretrain/demo.yaml": as_written,
    "ssl-swin submit evaluate": has_its_options,  # of a run that is not there
    "ssl-swin status runs/base --watch": has_its_options,
    "ssl-swin status": as_written,
    "p=$(sbatch": as_written,
    "f=$(sbatch": as_written,
    "sbatch --dependency": as_written,
}


def blocks(page):
    """The fenced blocks of a page: their language and text."""
    text = (ROOT / page).read_text("utf-8")
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M)


def lines(block):
    """The commands of a shell block, one a line, without comments."""
    joined = re.sub(r"\\\n\s*", "", block)
    stripped = (re.sub(r"(^|\s+)#.*", "", line) for line in joined.splitlines())
    return [line for line in stripped if line]


def rule_of(line):
    """The beginning of the first rule that fits."""
    fits = [begin for begin in RULES if line.startswith(begin)]
    assert fits, f"no rule in this file says how this line of a page runs: {line}"
    return fits[0]


def shell_lines():
    found = [(page, lines(text)) for page in PAGES for kind, text in blocks(page) if not kind]
    return [(page, line) for page, block in found for line in block]


def test_every_line_has_a_rule_and_every_rule_a_line():
    assert {rule_of(line) for _, line in shell_lines()} == set(RULES)


def test_flags_are_shown_with_hyphens():
    """Read they are with underscores as well, and `config/flags.py` says so.

    TensorBoard's own has underscores alone.
    """
    places = ("*.md", "docs/*.md", "data/*.md", "slurm/*", "configs/**/*.yaml", "ssl_swin/**/*.py")
    files = [path for place in places for path in ROOT.glob(place) if path.name != "flags.py"]
    shown = {
        path: re.findall(r"--(?!samples_per_plugin)[a-z][\w.]*_\w*", path.read_text("utf-8"))
        for path in files
    }
    assert {path: flags for path, flags in shown.items() if flags} == {}


def test_every_block_is_of_a_kind_that_is_known():
    kinds = {kind for page in PAGES for kind, _ in blocks(page)}
    assert kinds == {"", "python", "yaml", "json", "text"}


def test_the_folders_of_the_readme_are_there():
    ((_, text),) = [block for block in blocks("README.md") if block[0] == "text"]
    folders = [line.split()[0] for line in text.splitlines()]
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []


def test_the_index_of_the_contract_is_like_the_shipped_one():
    ((_, text),) = [block for block in blocks("data/README.md") if block[0] == "json"]
    shown, shipped = json.loads(text), json.loads((ROOT / SAMPLE / "index.json").read_text("utf-8"))
    assert set(shown) == set(shipped)
    assert shown["format"] == shipped["format"]
    entries = [entry for index in (shown, shipped) for entry in index["shards"].values()]
    assert {tuple(map(type, entry[:2])) for entry in entries} == {(int, int)}


@pytest.fixture
def run(tmp_path):
    """Runs scripts in a copy of the checkout that has the placeholders of the pages in it."""
    folder = tmp_path
    everywhere = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")
    made_here = {"runs", "shards", "tests"}  # of the root: the package has such folders too

    def left_out(place, names):
        return everywhere(place, names) | (made_here if Path(place) == ROOT else set())

    shutil.copytree(ROOT, folder / "checkout", ignore=left_out)
    bin_folder = write_programs(folder / "bin")
    for name in ("IMAGES", "FOLDER_OF_IMAGES"):
        write_images(folder / "checkout" / name)
    write_images(folder / "checkout/NEW_IMAGES", 4)
    shards = folder / "checkout" / "SHARDS"
    shards.mkdir()
    shutil.copy(ROOT / SAMPLE / "test-000000.tar", shards)  # without its index
    (folder / "home").mkdir()
    environment = {name: value for name, value in os.environ.items() if "SLURM" not in name}
    environment |= {
        "HOME": str(folder / "home"),
        "OMP_NUM_THREADS": "1",
        "PATH": f"{bin_folder}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder / "checkout"),
    }

    def run(script, program=("bash", "-exo", "pipefail", "-c")):
        done = subprocess.run(
            [*program, script],
            cwd=folder / "checkout",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def write_images(folder, num=NUM_IMAGES):
    """A photo of noise again and again, in two folders, which are classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    for number in range(num):
        place = folder / f"class-{number % 2}" / f"{number:04d}.jpg"
        if number < 2:
            place.parent.mkdir(parents=True)
            Image.fromarray(pixels).resize((64, 48)).save(place)
        else:
            shutil.copy(folder / f"class-{number % 2}" / f"{number % 2:04d}.jpg", place)


def whole(page, text):
    """What a block of YAML is part of; that of a config says only what is new."""
    block = yaml.safe_load(text)
    if page not in ("docs/your-images.md", "docs/targets.md"):
        return block
    config = yaml.safe_load((ROOT / "configs/pretrain/demo.yaml").read_text("utf-8"))
    if "data" in block:
        del config["data"]["shards"]
    for name, value in block.items():
        config[name] = config.get(name, {}) | value if isinstance(value, dict) else value
    return config


@pytest.mark.commands
@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_runs(page, run, tmp_path):
    run(MADE_BEFORE.get(page, ""))
    for kind, text in blocks(page):
        if kind == "python":
            run(text, (sys.executable, "-c"))
        elif kind == "yaml":
            (tmp_path / "block.yaml").write_text(yaml.safe_dump(whole(page, text)))
            run(READS_YAML[page].replace("BLOCK", str(tmp_path / "block.yaml")))
        elif not kind:
            run("\n".join(RULES[rule_of(line)](line) for line in lines(text)))
