"""One cluster for all scenarios, and runs on it: the shipped images, two processes, 40 steps."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator, ScalarEvent

from ssl_swin.record.lines import read_lines
from tests.slurm.cluster import Cluster, missing_programs, until

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

    def reach(self, step: int, life: int = 1) -> None:
        """Wait until so many steps are done in this life."""

        def reached() -> bool:
            lines = read_lines(self.folder / "ledger/rank-0000.jsonl")
            return bool(lines) and lines[-1]["life"] == life and lines[-1]["step"] + 1 >= step

        try:
            until(reached, f"step {step} of job {self.job}", 150, 0.02)
        except TimeoutError:
            print(self.cluster.show(self.job), self.log)
            raise

    def saves(self) -> bool:
        """Whether a checkpoint is being written."""
        return any((self.folder / "checkpoints").glob(".*.partial"))

    def nodes(self) -> list[str]:
        """Return the names of the nodes the job has."""
        text = self.cluster.ask(
            "scontrol", "show", "hostnames", self.cluster.show(self.job)["NodeList"]
        )
        return text.split()

    def ranks(self) -> list[int]:
        """Return the training processes of the job, as seen from outside of its nodes."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                words = (place / "cmdline").read_text().split("\0")
                variables = (place / "environ").read_text().split("\0")
            except OSError:
                continue
            if f"SLURM_JOB_ID={self.job}" in variables and "SLURM_STEP_ID=0" in variables:
                found += [int(place.name)] if "pretrain" in words else []
        return found

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
            "pause": "1",
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
        small = found.root / "small"  # a disk of its own, which nodes see if they start later
        if found.namespaces:
            small.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16M", "tmpfs", small], check=True)
        try:
            found.up()
            yield found
        finally:
            found.down()
            if found.namespaces:
                subprocess.run(["umount", "--lazy", small], check=True)


@pytest.fixture
def user(cluster: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[User]:
    """A user whose jobs are cancelled afterwards; says how long the scenario took."""
    began = time.monotonic()
    yield User(cluster, tmp_path)
    cluster.ask("scancel", "--user", str(os.geteuid()), check=False)
    print(f"{request.node.name}: {time.monotonic() - began:.0f} s")
    for name, state in cluster.states().items():
        if state == "down":
            cluster.fail(name)
            cluster.start(name)
    until(lambda: set(cluster.states().values()) == {"idle"}, "idle nodes", 60)


@pytest.fixture(scope="session")
def straight(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a run with these settings that nothing ever stopped, on two nodes."""

    @cache
    def finished(*settings: str) -> Path:
        run = User(cluster, tmp_path_factory.mktemp("straight")).submit(*settings)
        run.finish()
        assert len(run.lines("lives")) == 1
        return run.folder

    return finished


def assert_whole(run: Path, straight: Path) -> None:
    """The run is finished, and is what it would have been if nothing had ever stopped it."""
    num_steps = read_json(straight / "summary.json")["step"]
    assert read_json(run / "summary.json")["step"] == num_steps
    mine, theirs = losses(run), losses(straight)
    assert mine.keys() == theirs.keys()
    assert max(abs(mine[step] - theirs[step]) for step in mine) < 1e-9
    assert_ledger(run, straight)
    assert not list(run.rglob("*.partial"))
    drawn = [point.step for point in drawn_losses(run)]
    assert drawn == sorted(set(drawn))  # one curve, with no point twice
    assert drawn == [point.step for point in drawn_losses(straight)]
    if {line["world_size"] for line in read_lines(run / "lives.jsonl")} == {2}:
        found, expected = weights(run), weights(straight)
        assert all(torch.equal(found[name], value) for name, value in expected.items())


def assert_ledger(run: Path, straight: Path) -> None:
    """Every step used the images it uses without interruption, also where it was done again."""
    expected = {step: ids for (_, step), ids in images_used(straight).items()}
    done = images_used(run)
    world_sizes = {line["life"]: line["world_size"] for line in read_lines(run / "lives.jsonl")}
    whole = set()
    for (life, step), ids in done.items():
        assert ids.items() <= expected[step].items() or world_sizes[life] != 2
        together = sorted(chain(*ids.values()))
        if len(ids) == world_sizes[life]:  # else a rank was killed before it wrote its line
            assert together == sorted(chain(*expected[step].values()))
            whole.add(step)
    assert whole == expected.keys()


def images_used(run: Path) -> dict[tuple[int, int], dict[int, list[int]]]:
    """Return (life, step) -> rank -> images."""
    found: dict[tuple[int, int], dict[int, list[int]]] = {}
    for path in sorted((run / "ledger").glob("*.jsonl")):
        for line in read_lines(path):
            found.setdefault((line["life"], line["step"]), {})[line["rank"]] = line["ids"]
    return found


def assert_no_step_lost(run: SlurmRun, num_steps: int = STEPS) -> None:
    """Every step was done once, on both ranks."""
    assert run.steps(0) == run.steps(1) == list(range(num_steps))


def losses(run: Path) -> dict[int, float]:
    """Return step -> loss; each step stands once, also where it was done twice."""
    lines = [line for line in read_lines(run / "metrics.jsonl") if "train/loss" in line]
    found = {line["step"]: line["train/loss"] for line in lines}
    assert len(found) == len(lines)
    return found


def drawn_losses(run: Path) -> list[ScalarEvent]:
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    return events.Reload().Scalars("train/loss")


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Return the weights at the end of a run."""
    state = torch.load(run / "checkpoints/last.ckpt", map_location="cpu", weights_only=True)
    return state["model"]


def read_json_line(path: Path) -> dict:
    return read_lines(path)[-1]


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())
