"""The cluster of the tests itself: what a node is, and what happens to it."""

import tempfile
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, missing_programs, until

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def test_nodes_have_names_and_devices(cluster):
    show = "echo $SLURM_PROCID $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES"
    words = ("srun", "--nodes=2", "--ntasks-per-node=2", "--gpus-per-node=2", "bash", "-c", show)
    first, second, *_ = cluster.nodes
    assert sorted(cluster.ask(*words).splitlines()) == [
        f"0 {first} 0,1",
        f"1 {first} 0,1",
        f"2 {second} 0,1",
        f"3 {second} 0,1",
    ]


def test_on_a_node_without_its_cable_the_job_lives_on_while_slurm_starts_it_anew(cluster, tmp_path):
    if not cluster.namespaces:
        pytest.skip("without the rights for namespaces a node has no cable to be cut")
    first, second, *_ = cluster.nodes
    beat = f"while sleep 0.2; do date >> {tmp_path}/$SLURM_RESTART_COUNT-$SLURMD_NODENAME; done"
    script = f"#!/bin/bash\nsrun bash -c '{beat}'\n"
    options = ("--nodes=2", f"--nodelist={first},{second}", "--output=/dev/null")
    job = cluster.sbatch(script, *options, environment=cluster.environment)
    until((tmp_path / f"-{second}").exists, "the job to begin")
    cluster.cut(second)
    cluster.wait(job, "PENDING", seconds=60)
    until(lambda: cluster.states()[second] == "down", "the node to be given up", 60)
    before = (tmp_path / f"-{second}").stat().st_size
    until(lambda: (tmp_path / f"-{second}").stat().st_size > before, "the old task to go on")
    cluster.join(second)
    cluster.ask("scancel", job)
    until(lambda: set(cluster.states().values()) == {"idle"}, "idle nodes", 60)


def test_without_namespaces_nodes_work_and_fail_too():
    if missing_programs():
        pytest.skip("no SLURM here")
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as folder:
        plain = Cluster(Path(folder), num_nodes=2, plain=True)
        plain.up()
        try:
            first, second = plain.nodes
            script = "#!/bin/bash\nsleep 100\n"
            options = ("--nodes=2", "--output=/dev/null")
            job = plain.sbatch(script, *options, environment=plain.environment)
            plain.wait(job, "RUNNING")
            plain.fail(second)
            assert plain.wait(job, "PENDING", seconds=60)["Restarts"] == "1"
            plain.start(second)
            until(lambda: plain.states()[first] in ("idle", "allocated"), "the first node")
        finally:
            plain.down()
