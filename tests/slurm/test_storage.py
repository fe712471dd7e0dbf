"""What storage and nodes do to a run that has saved: it is tried again, and loses nothing."""

import errno
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.slurm.cluster import until
from tests.slurm.user import ROOT
from tests.slurm.whole import assert_whole, read_json_line

pytestmark = pytest.mark.slurm
IMAGES = ROOT / "data/fashion-mnist-sample"


@pytest.fixture
def own_places(user):
    if not user.cluster.namespaces:
        pytest.skip("nodes without namespaces have no disk, memory or network of their own")


def test_17_a_life_that_dies_in_its_imports(user, straight):
    run = user.submit(SLOW_S=0.1, DIE_IN_IMPORTS="1,2")
    run.reach(12)
    user.cluster.ask("scancel", "--signal=USR1", run.job)
    assert run.finish()["Restarts"] == "3"
    assert "before it saved anything new (last checkpoint: step " in run.log
    assert "failure 2 in a row, at most 3 are tried again, after a pause of 1 s" in run.log
    assert len(run.lines("lives")) == 2
    assert_whole(run.folder, straight())


@pytest.mark.slow
def test_17_a_life_that_always_dies_has_three_tries(user):
    run = user.submit(DIE_IN_IMPORTS="0,1,2,3")
    found = run.wait("FAILED", "COMPLETED")
    assert (found["JobState"], found["Restarts"]) == ("FAILED", "3")
    assert "ssl-swin: the end: failed with status " in run.log
    assert "failure 4 in a row" in run.log


@pytest.mark.usefixtures("own_places")
@pytest.mark.slow
def test_18_a_port_that_is_taken_on_the_nodes_of_the_next_life(user, straight):
    run = user.submit(SLOW_S=0.1)
    run.reach(12)
    port = 10000 + (int(run.job) * 7 + 1009) % 20000
    listen = f"import socket, time; s = socket.create_server(('', {port})); time.sleep(600)"
    others = [
        user.cluster.start_inside(name, sys.executable, "-c", listen) for name in user.cluster.nodes
    ]
    try:
        user.cluster.ask("scancel", "--signal=USR1", run.job)
        assert run.finish()["Restarts"] == "1"
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert_whole(run.folder, straight())


@pytest.mark.usefixtures("own_places")
@pytest.mark.slow
def test_19_a_node_whose_shared_memory_is_full(user, straight):
    run = user.submit(
        "--data.num-workers", "1", "--nodes", "1", "--tasks-per-node", "2", SLOW_S=0.1
    )
    run.reach(12)
    (node,) = run.nodes()
    fill = "mount -t tmpfs -o size=64k tmpfs /dev/shm && head -c 64k /dev/zero > /dev/shm/other"
    user.cluster.inside(node, "sh", "-c", fill)
    try:
        user.cluster.ask("scancel", "--signal=USR1", run.job)
        found = run.finish()
    finally:
        user.cluster.inside(node, "umount", "/dev/shm")
    assert f"without node {node}" in run.log
    assert found["Restarts"] == "2"
    assert run.nodes() != [node]
    assert_whole(run.folder, straight())


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["", "test-000001.tar"], ids=["the folder", "a shard"])
def test_20_data_that_are_away_when_a_life_starts(user, straight, missing):
    shards = user.folder / "shards"
    shards.mkdir()
    for path in IMAGES.glob("test-*"):
        shutil.copy(path, shards)
    run = user.submit("--data.shards", shards, SLOW_S=0.1)
    run.reach(12)
    away = user.folder / "away"
    (shards / missing).rename(away)
    user.cluster.ask("scancel", "--signal=USR1", run.job)
    until(lambda: "failure 1 in a row" in run.log, "a life that fails", 60)
    away.rename(shards / missing)
    assert int(run.finish()["Restarts"]) >= 2
    assert "they were there when this run began" in run.log
    verdict = next(line for line in run.lines("verdicts") if line["status"] == 1)
    assert verdict["reason"].startswith("MachineError: ")
    assert_whole(run.folder, straight())


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [errno.EPERM, errno.ESTALE, errno.ENOENT], ids=errno.errorcode.get
)
def test_21_a_save_that_is_refused(user, straight, number):
    run = user.submit(SAVE_FAILS=number, SAVE_NUMBER=1)
    assert run.finish()["Restarts"] == "1"
    assert "but got from step 0 to 10; failure 1 in a row" in run.log
    assert [line["step"] for line in run.lines("lives")] == [0, 10]
    assert_whole(run.folder, straight())


def fill_disk(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass


@pytest.mark.usefixtures("own_places")
def test_22_a_full_disk(user, straight):
    user.folder = user.cluster.root / "small"
    run = user.submit("--run-dir", user.folder / "run", SLOW_S=0.3)
    run.reach(12)
    fill_disk(user.folder / "other")
    until(lambda: user.cluster.show(run.job)["Restarts"] == "1", "the next life", 60)
    (user.folder / "other").unlink()
    run.finish()
    assert run.lines("lives")[1]["step"] >= 10
    assert_whole(run.folder, straight())
    shutil.rmtree(run.folder)


@pytest.mark.slow
def test_23_a_run_folder_that_is_not_mounted_is_not_begun_anew(user, straight):
    run = user.submit(SLOW_S=0.1)
    run.reach(12)
    away = user.folder / "away"
    user.cluster.ask("scancel", "--signal=USR1", run.job)
    run.wait("PENDING", seconds=60)
    run.folder.rename(away)
    run.folder.mkdir()
    until(lambda: "failure 1 in a row" in run.log, "a life without its folder", 60)
    assert "holds no record of this run" in run.log
    assert not [path for path in run.folder.iterdir() if path.suffix != ".out"]
    run.folder.rename(user.folder / "empty")
    away.rename(run.folder)
    assert int(run.finish()["Restarts"]) >= 2
    assert_whole(run.folder, straight())


@pytest.mark.usefixtures("own_places")
@pytest.mark.slow
def test_23_a_run_folder_that_one_node_has_not_mounted(user, straight):
    run = user.submit(SLOW_S=0.1)
    run.reach(12)
    node = run.nodes()[1]
    user.cluster.ask("scancel", "--signal=USR1", run.job)
    run.wait("PENDING", seconds=60)
    user.cluster.inside(node, "mount", "-t", "tmpfs", "tmpfs", str(run.folder))
    try:
        until(lambda: "failure 1 in a row" in run.log, "a life that fails", 90)
    finally:
        user.cluster.inside(node, "umount", str(run.folder))
    assert f"holds no record of this run on {node}" in run.log
    assert int(run.finish()["Restarts"]) >= 2
    assert_whole(run.folder, straight())


def test_24_a_mistake_of_the_user_ends_the_job_when_it_comes_again(user):
    run = user.submit("--sbatch=--export=ALL", SLOW_S=0.1)
    run.reach(12)
    text = user.config.read_text()
    user.config.write_text(text.replace("mask_patch_size: 8", "mask_patch_size: 7"))
    user.cluster.ask("scancel", "--signal=USR1", run.job)
    found = run.wait("FAILED", "COMPLETED", seconds=120)
    assert (found["JobState"], found["ExitCode"], found["Restarts"]) == ("FAILED", "2:0", "2")
    assert "as the life before: an error of the command or its config" in run.log
    assert read_json_line(run.folder / "verdicts.jsonl")["requeue"] is False
