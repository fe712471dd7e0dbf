"""One cluster for all scenarios, a user of it, and a run that nothing stopped."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, missing_programs, until
from tests.slurm.user import User

pytest.register_assert_rewrite("tests.slurm.whole")  # so that its failures show both sides


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
