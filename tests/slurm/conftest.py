"""One cluster for all scenarios, and runs on it: the shipped images, two processes, 40 steps."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.slurm.cluster import Cluster, missing_programs, read_lines, until

ROOT = Path(__file__).parents[2]
STEPS = 40
CONFIG = {
    "data": {
        "shards": "data/fashion-mnist-sample/test-{000000..000001}.tar",
        "mean": [0.286],
        "std": [0.353],
        "num_workers": 0,
        "num_lanes": 10,
        "crop_pct": 1.0,
    },
    "model": {
        "name": "swin_tiny_patch4_window7_224",
        "img_size": 32,
        "patch_size": 4,
        "window_size": 4,
        "embed_dim": 16,
        "depths": [1, 1],
        "num_heads": [1, 2],
    },
    "mask": {"mask_patch_size": 8},
    "optim": {"epochs": 1, "warmup_epochs": 0, "base_lr": 0.02, "warmup_lr": 0.0, "min_lr": 0.0},
    "training": {
        "global_batch_size": 50,
        "micro_batch_size": 50,
        "precision": "fp64",  # so that any number of processes gives the same curve within 1e-9
        "accelerator": "cpu",
        "num_threads": 1,
        "checkpoint_every_steps": 10,
        "checkpoint_every_min": 0,
        "log_every_steps": 1,
        "panel_every_epochs": 0,
        "ledger": True,
    },
}


@dataclass(frozen=True)
class SlurmRun:
    """A run that was submitted, as the test's user sees it."""

    cluster: Cluster
    folder: Path
    job: str

    @property
    def log(self) -> str:
        path = next(iter(self.folder.glob("slurm-*.out")), None)
        return path.read_text(errors="replace") if path else ""

    def lines(self, name: str) -> list[dict]:
        return read_lines(self.folder / f"{name}.jsonl")

    def steps(self, rank: int = 0) -> list[int]:
        """Return the steps that a rank wrote into its ledger, over all lives."""
        return [line["step"] for line in read_lines(self.folder / f"ledger/rank-{rank:04d}.jsonl")]

    def reach(self, step: int, seconds: float = 150) -> None:
        """Wait until so many steps are done."""
        what = f"step {step} of job {self.job}"
        try:
            until(lambda: self.steps() and self.steps()[-1] + 1 >= step, what, seconds, 0.02)
        except TimeoutError:
            print(self.cluster.show(self.job), self.log)
            raise

    def wait(self, *states: str, seconds: float = 240) -> dict[str, str]:
        try:
            return self.cluster.wait(self.job, *states, seconds=seconds)
        except TimeoutError:
            print(self.log)
            raise

    def finish(self, seconds: float = 240) -> dict[str, str]:
        """Wait for the job's success."""
        ends = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        found = self.wait(*ends, seconds=seconds)
        assert found["JobState"] == "COMPLETED", self.log
        return found


class User:
    """Submits runs to the cluster with the program of the tests."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.config = folder / "config.yaml"
        self.config.write_text(yaml.safe_dump({"run_dir": str(folder / "run"), **CONFIG}))
        self.program = [sys.executable, str(ROOT / "tests/slurm/program.py")]
        defaults = {
            "program": " ".join(self.program),
            "time": "10:00",
            "warning": "20",
            "cpus_per_task": "1",
            "sbatch": ["--mem=0"],
        }
        self.defaults = folder / "slurm.yaml"
        self.defaults.write_text(yaml.safe_dump(defaults))

    def environment(self, **variables: object) -> dict[str, str]:
        """Return this user's variables: bytecode is kept, for it is the imports that take time."""
        mine = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        mine |= {name: str(value) for name, value in variables.items()}
        theirs = {
            k: v for k, v in self.cluster.environment.items() if k != "PYTHONDONTWRITEBYTECODE"
        }
        return theirs | mine

    def submit(self, *words: object, **variables: object) -> SlurmRun:
        """Submit a run of two nodes with one process each, unless words say otherwise."""
        command = [*self.program, "submit", "pretrain", self.config, "--cluster", self.defaults]
        command += ["--nodes", "2", "--tasks-per-node", "1", *words]
        answer = subprocess.run(
            [str(word) for word in command],
            env=self.environment(**variables),
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert answer.returncode == 0, answer.stderr
        job = next(line for line in answer.stdout.splitlines() if line.startswith("job "))
        print(answer.stdout)
        return SlurmRun(self.cluster, self.folder / "run", job.split()[1].rstrip(","))

    def ask(self, *command: object, seconds: float = 60, **variables: object) -> tuple[int, str]:
        """Run a command as this user; return its status and what it says."""
        answer = subprocess.run(
            [str(word) for word in command],
            env=self.environment(**variables),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )
        return answer.returncode, answer.stdout


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    missing = missing_programs()
    if missing:
        pytest.skip(f"no SLURM here ({', '.join(missing)} missing): make test-slurm installs it")
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as folder:
        found = Cluster(Path(folder))
        found.up()
        try:
            yield found
        finally:
            found.down()


@pytest.fixture
def user(cluster: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[User]:
    """A user whose jobs are cancelled afterwards; says how long the scenario took."""
    began = time.monotonic()
    yield User(cluster, tmp_path)
    cluster.ask("scancel", "--user", str(os.geteuid()), check=False)
    print(f"{request.node.name}: {time.monotonic() - began:.0f} s")
    for name, state in cluster.states().items():
        if state == "down":
            cluster.start(name)
    until(lambda: set(cluster.states().values()) == {"idle"}, "idle nodes", 60)


@pytest.fixture(scope="session")
def straight(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """The losses of the same run in one process that nothing ever stopped."""
    user = User(cluster, tmp_path_factory.mktemp("straight"))
    command = [sys.executable, "-m", "ssl_swin", "pretrain", user.config]
    status, said = user.ask(*command, seconds=240)
    assert status == 0, said
    return losses(user.folder / "run")


def losses(run: Path) -> dict[int, float]:
    """Return step -> loss; a step that was done twice has the same one."""
    found: dict[int, float] = {}
    for line in read_lines(run / "metrics.jsonl"):
        if "train/loss" in line:
            before = found.setdefault(line["step"], line["train/loss"])
            assert abs(before - line["train/loss"]) < 1e-9
    return found


def read_json_line(path: Path) -> dict:
    return read_lines(path)[-1]


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())
