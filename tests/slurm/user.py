"""Submits runs to the cluster as a user does: the shipped images, two processes, 40 steps."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from ssl_swin.record.lines import read_lines
from tests.slurm.cluster import Cluster, until

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

    def processes(self) -> Iterator[tuple[int, list[str], set[str]]]:
        """Yield pid, words and variables of the job's processes, as seen from outside its nodes."""
        for place in Path("/proc").glob("[0-9]*"):
            try:
                words = (place / "cmdline").read_text().split("\0")
                variables = (place / "environ").read_text().split("\0")
            except OSError:
                continue
            if f"SLURM_JOB_ID={self.job}" in variables:
                yield int(place.name), words, set(variables)

    def ranks(self) -> list[int]:
        """Return the training processes of the job."""
        return [
            pid
            for pid, words, variables in self.processes()
            if "SLURM_STEP_ID=0" in variables and "pretrain" in words
        ]

    def shell(self) -> int:
        """Return the batch shell of the job."""
        for pid, words, _ in self.processes():
            if words[-2].endswith("/slurm_script"):
                return pid
        raise LookupError(f"job {self.job} has no shell")

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
