"""`shards create` into a folder that it knows: it goes on, or refuses what is another's."""

import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from ssl_swin.data.shards.one_maker import _take
from ssl_swin.errors import UserError
from ssl_swin.shard_tools.assign import PackOptions
from ssl_swin.shard_tools.create import create
from tests.data.shards.tars import image_bytes, write_tar


def content(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize("stop", range(5))
def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(source, tmp_path, stopped_after, stop):
    (source / "cat" / "torn.png").write_bytes(image_bytes(99)[:50])
    options = {"options": PackOptions(samples_per_shard=2), "num_workers": 1, "max_bad_share": 0.2}
    create(source, tmp_path / "straight", **options)
    with stopped_after(stop):
        create(source, tmp_path / "out", **options)
    half = next((tmp_path / "out").glob("*.partial"))
    half.write_bytes(half.read_bytes()[:700])
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.tar")}
    assert len(kept) == stop
    create(source, tmp_path / "out", **options)
    assert content(tmp_path / "out") == content(tmp_path / "straight")
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items())


@pytest.fixture
def many(tmp_path):
    (tmp_path / "many").mkdir()
    for seed in range(120):
        (tmp_path / "many" / f"{seed}.png").write_bytes(image_bytes(seed, size=(64, 64)))
    return tmp_path / "many"


def test_a_run_killed_at_work_goes_on_and_ends_with_the_same_bytes(many, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "ssl_swin", "shards", "create", many, out]
    options = ["--samples_per_shard=1", "--num_workers=1"]
    run = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
    while run.poll() is None and not list(out.glob("*.tar")):
        time.sleep(0.001)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert 0 < len(list(out.glob("*.tar"))) < 120
    create(many, out, PackOptions(samples_per_shard=1), num_workers=1)
    create(many, tmp_path / "straight", PackOptions(samples_per_shard=1), num_workers=1)
    assert content(out) == content(tmp_path / "straight")


def test_a_run_that_is_asked_to_stop_says_how_to_go_on(many, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "ssl_swin", "shards", "create", many, out]
    options = ["--samples-per-shard=1", "--num-workers=1"]
    run = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    while run.poll() is None and not list(out.glob("*.tar")):
        time.sleep(0.001)
    run.send_signal(signal.SIGTERM)
    _, said = run.communicate()
    num = len(list(out.glob("*.tar")))
    assert said.endswith(
        f"error: stopped: {num} of 120 shards are packed; the same command goes on from there\n"
    )
    assert run.returncode == 130
    assert not (out / ".create.lock").exists()


@pytest.mark.slow  # each worker imports torch, by way of webdataset
def test_any_number_of_workers_writes_the_same_bytes(many, tmp_path):
    for num_workers in (1, 3):
        create(many, tmp_path / f"{num_workers}", PackOptions(samples_per_shard=7), num_workers)
    assert content(tmp_path / "1") == content(tmp_path / "3")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "begun with seed=0, now it is 1"),
        ({"samples_per_shard": 5}, "begun with samples_per_shard=4, now it is 5"),
        ({"quality": 80}, "begun with quality=None, now it is 80"),
        ({"prefix": "val"}, "begun with prefix='train', now it is 'val'"),
    ],
)
def test_other_options_are_refused_in_the_same_folder(source, tmp_path, change, message):
    options = PackOptions(samples_per_shard=4)
    create(source, tmp_path / "out", options, num_workers=1)
    before = content(tmp_path / "out")
    with pytest.raises(UserError, match=message):
        create(source, tmp_path / "out", replace(options, **change), num_workers=1)
    assert content(tmp_path / "out") == before


def test_another_set_is_refused_in_the_same_folder(source, tmp_path):
    create(source, tmp_path / "out", PackOptions(), num_workers=1)
    (source / "cat" / "one.png").write_bytes(image_bytes(1000, size=(9, 9)))
    with pytest.raises(UserError, match="begun with other files: one was added"):
        create(source, tmp_path / "out", PackOptions(), num_workers=1)
    (tmp_path / "other").mkdir()
    write_tar(tmp_path / "other" / "a.tar", [])
    with pytest.raises(UserError, match=r"holds 1 tars of another origin \(a\.tar\)"):
        create(source, tmp_path / "other", PackOptions(), num_workers=1)


@pytest.mark.parametrize("step", ["keep_assignment", "pack_all", "write_manifest"])
def test_one_process_at_a_time_packs_into_a_folder(source, tmp_path, monkeypatch, step):
    real, num_tried = getattr(sys.modules[create.__module__], step), []

    def tried(*arguments):
        with pytest.raises(BlockingIOError):
            _take(tmp_path / "out" / ".create.lock")
        num_tried.append(1)
        return real(*arguments)

    monkeypatch.setattr(f"{create.__module__}.{step}", tried)
    create(source, tmp_path / "out", PackOptions(), num_workers=1)
    assert num_tried
    assert not (tmp_path / "out" / ".create.lock").exists()
