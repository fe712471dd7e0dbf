import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssl_swin.data.shards.names import expand
from ssl_swin.shipped import FOLDERS, or_shipped, shipped

ROOT = Path(__file__).parents[1]
SAMPLE = "data/fashion-mnist-sample"


def test_in_a_checkout_all_lies_beside_the_package():
    assert [shipped(folder) for folder in FOLDERS] == [ROOT / folder for folder in FOLDERS]
    assert all(shipped(folder).is_dir() for folder in FOLDERS)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (f"{SAMPLE}/test-{{000000..000001}}.tar", True),
        (f"{SAMPLE}/*.tar", True),
        (SAMPLE, True),
        ("configs/pretrain/demo.yaml", True),
        ("slurm/pretrain.sbatch", True),
        ("configs/pretrain/none.yaml", False),
        ("data", False),
        ("pyproject.toml", False),
        ("ssl_swin/x.py", False),
        (str(ROOT / SAMPLE), False),
        ("data/fashion-mnist-sample-2/x.tar", False),
    ],
)
def test_only_what_is_shipped_is_looked_for_there(path, found, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert or_shipped(path) == (str(ROOT / path) if found else path)


def test_what_lies_here_goes_first(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / SAMPLE).mkdir(parents=True)
    (tmp_path / SAMPLE / "own.tar").touch()
    assert expand(SAMPLE) == [Path(SAMPLE, "own.tar")]
    assert or_shipped(f"{SAMPLE}/test-{{000000..000001}}.tar").startswith(SAMPLE)


def test_the_sample_is_found_from_any_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = [f"test-{number:06d}.tar" for number in range(2)]
    assert expand(f"{SAMPLE}/test-*.tar") == [ROOT / SAMPLE / name for name in names]
    assert expand(f"{SAMPLE}/{names[0]}") == [ROOT / SAMPLE / names[0]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder in which the wheel of this checkout is installed, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    names = ["ssl_swin", *FOLDERS, "pyproject.toml", "setup.py", "README.md", "LICENSE"]
    for name in names:
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        copy = ["cp", "-r", str(ROOT / name), str((folder / "source" / name).parent)]
        subprocess.run(copy, check=True)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    command = [sys.executable, "-c", build, str(folder)]
    subprocess.run(command, cwd=folder / "source", check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    install = ["pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    command = [sys.executable, "-m", *install, str(folder / "site"), str(wheel)]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "site"


@pytest.fixture
def alone(installed, monkeypatch, tmp_path):
    """Runs the wheel's program in an empty folder; its dependencies are those of the tests."""
    monkeypatch.chdir(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(installed), "HOME": str(tmp_path / "home")}

    def alone(*words):
        command = [sys.executable, "-m", "ssl_swin", *map(str, words)]
        answer = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    return alone


IN_WHEEL = "ssl_swin/_shipped"
FEW = [f"--data.shards={SAMPLE}/train-000000.tar", "--optim.epochs=1", "--optim.warmup-epochs=0"]
FEW += ["--training.num-threads=1"]


@pytest.mark.commands
def test_a_wheel_alone_holds_configs_scripts_and_images(alone, installed):
    assert "swin_base_simmim_100ep" in alone("configs")
    Path("my.yaml").write_text(alone("configs", "pretrain/demo"), "utf-8")
    assert Path("my.yaml").read_text() == (ROOT / "configs/pretrain/demo.yaml").read_text()
    assert f"demo is the shipped {installed}" in alone("pretrain", "demo", "--dry-run")
    assert "10,000 images" in alone("submit", "pretrain", "my.yaml", "--dry-run")
    assert "samples" in alone("shards", "info", SAMPLE)
    alone("recipe", installed / IN_WHEEL / SAMPLE / "train-000000.tar", "-o", "own.yaml")
    assert "run_dir" in Path("own.yaml").read_text("utf-8")


@pytest.mark.commands
def test_a_wheel_alone_pretrains_fine_tunes_and_predicts(alone, installed, tmp_path):
    alone("pretrain", "demo", *FEW)
    alone("finetune", "demo", *FEW, "--encoder=runs/demo/pretrain")
    assert "finetune" in alone("report", "runs")
    images = installed / IN_WHEEL / SAMPLE / "test-000000.tar"
    alone("predict", "runs/demo/finetune", images, "-o", "predictions.csv")
    assert len(Path("predictions.csv").read_text("utf-8").splitlines()) > 1000
    assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} <= {
        *("runs", "home", "predictions")
    }
