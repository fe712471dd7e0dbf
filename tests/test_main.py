"""The program: its help, its ends, and what becomes of mistakes that are not the user's."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ssl_swin import __version__
from ssl_swin.__main__ import COMMANDS, _while_receiving, run
from ssl_swin.data.shards.making import INDEX_LOCK
from ssl_swin.data.shards.one_maker import one_maker

PRETRAIN = "configs/pretrain/demo.yaml"

pytestmark = pytest.mark.usefixtures("in_the_checkout")


@pytest.mark.parametrize("phase", ["loading libraries", "opening shards"])
def test_a_run_that_loads_or_waits_for_its_index_hears_a_signal(tiny_shards, tmp_path, phase):
    shards = tiny_shards([2])
    code = f"""
import os, signal, sys, threading
from ssl_swin.__main__ import run
from ssl_swin.phases import Phase
begin = Phase.begin
def signalled(self):
    begin(self)
    if self.doing == {phase!r}:
        threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGTERM]).start()
Phase.begin = signalled
sys.exit(run(["pretrain", {PRETRAIN!r}, "--data.shards={shards}", "--run-dir={tmp_path}"]))
"""
    command = [sys.executable, "-c", code]
    with one_maker(shards / INDEX_LOCK, str):
        left = subprocess.run(command, timeout=120, capture_output=True, text=True, check=False)
    assert left.returncode == 75
    assert "stopped before the first step: SIGTERM" in left.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_command(arguments, capsys):
    assert run(arguments) == 0
    shown = capsys.readouterr().out
    assert all(name in shown and text in shown for name, (_, _, text) in COMMANDS.items())


@pytest.mark.parametrize("name", ["pretrain", "finetune", "shards info", "shards create"])
def test_a_command_tells_its_own_options(name, capsys):
    with pytest.raises(SystemExit) as info:
        run([*name.split(), "--help"])
    assert info.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    if name == "pretrain":
        assert "Share of mask patches hidden, rounded up to whole patches" in shown
        assert "--resume-from" in shown


def test_the_version_is_told(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"ssl-swin {__version__}\n"


def test_help_imports_nothing_heavy():
    answer = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ssl_swin", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in answer.stderr.splitlines()}
    assert "ssl_swin.signals" in imported
    assert not imported & {"torch", "numpy", "jsonargparse", "pytorch_lightning", "timm", "yaml"}


@pytest.mark.parametrize("name", ["pretrain", "submit", "status", "verdict", "report"])
def test_the_help_of_a_command_does_without_torch(name):
    answer = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ssl_swin", name, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in answer.stderr.splitlines()}
    assert "jsonargparse" in imported
    assert not imported & {"torch", "pytorch_lightning", "timm"}


def test_shards_that_are_missing_once_a_run_has_a_checkpoint_are_tried_again(
    two_step_run, tiny_shards, tmp_path, capsys
):
    shards, folder = tiny_shards([8, 8]), tmp_path / "run"
    arguments = [*two_step_run[0], f"--data.shards={shards}", f"--run-dir={folder}"]
    assert run([*arguments, "--data.shards=nowhere"]) == 2
    assert run(arguments) == 0
    (folder / "summary.json").unlink()
    for missing in (sorted(shards.glob("*.tar"))[1], shards):
        missing.rename(tmp_path / "away")
        assert run(arguments) == 1
        (tmp_path / "away").rename(missing)
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: ")
        assert error.endswith("once they are again, the same command goes on")
    assert run(arguments) == 0


@pytest.mark.parametrize(
    "error", [ValueError("of a library"), FileNotFoundError(2, "it vanished"), KeyError("a bug")]
)
@pytest.mark.parametrize("command", [["pretrain", PRETRAIN], ["report", "runs"]])
def test_what_is_not_the_users_keeps_its_traceback(command, error, monkeypatch):
    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr("ssl_swin.runs.life.run", fail)
    monkeypatch.setattr("ssl_swin.record.report.find_runs", fail)
    with pytest.raises(type(error)):
        run(command)


@pytest.mark.parametrize("command", [["pretrain", PRETRAIN], ["report", "runs"]])
def test_what_may_not_be_read_is_one_line_and_tried_again(command, monkeypatch, capsys):
    def fail(*_args, **_options):
        raise PermissionError(13, "Permission denied", "a.tar")

    monkeypatch.setattr("ssl_swin.runs.life.run", fail)
    monkeypatch.setattr("ssl_swin.record.report.find_runs", fail)
    assert run(command) == 1
    assert capsys.readouterr().err.startswith("error: a.tar: Permission denied; ")


def test_a_finished_run_says_so_and_writes_nothing(trained, capsys):
    arguments, folder = trained
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert run([*arguments, f"--run-dir={folder}"]) == 0
    assert f"{folder} is finished" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.usefixtures("short_timing")
def test_a_dry_run_says_what_would_be_trained_and_writes_nothing(two_step_run, tmp_path, capsys):
    arguments, _ = two_step_run
    assert run([*arguments, f"--run-dir={tmp_path / 'run'}", "--dry-run"]) == 0
    assert "data: 16 images in 2 shards" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_what_the_config_says_on_the_command_line_goes_before_the_file(two_step_run):
    _, folder = two_step_run
    saved = (folder / "config.yaml").read_text()
    assert "global_batch_size: 8" in saved
    assert "mask_patch_size: 8" in saved


def test_what_a_loader_worker_has_to_say_is_one_line(tiny_shards, tmp_path, capsys, two_step_run):
    shards = tiny_shards([16], broken=range(16))
    arguments = [*two_step_run[0], f"--data.shards={shards}", f"--run-dir={tmp_path / 'run'}"]
    assert run([*arguments, "--data.num-workers=2"]) == 2
    error = capsys.readouterr().err
    assert error.endswith("of its 16 images can be decoded; ssl-swin shards verify says why\n")
    assert error.count("\n") == 1


def test_a_killed_loader_worker_ends_the_run_with_one_line(two_step_run, tmp_path):
    folder = tmp_path / "run"
    options = ["--optim.epochs=100", "--data.num-workers=1", "--training.ledger=true"]
    command = [sys.executable, "-m", "ssl_swin", *two_step_run[0], *options, f"--run-dir={folder}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        kill_a_child_after_two_steps(process.pid, folder)
        told = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert "Traceback" not in told
    (error,) = (line for line in told.splitlines() if line.startswith("error: "))
    assert error.startswith("error: DataLoader worker")
    assert error.endswith("The same command goes on from the last save.")


@pytest.mark.parametrize(("file", "is_worker"), [("dataloader.py", True), ("gloo.py", False)])
def test_what_breaks_while_a_batch_comes_is_the_worker(file, is_worker):
    with pytest.raises(EOFError) as raised:
        exec(compile("raise EOFError", f"torch/{file}", "exec"))
    assert _while_receiving(raised.value) == is_worker


def kill_a_child_after_two_steps(pid: int, folder: Path) -> None:
    ledger = folder / "ledger" / "rank-0000.jsonl"
    while not ledger.is_file() or len(ledger.read_text().splitlines()) < 2:
        time.sleep(0.01)
    own = Path(f"/proc/{pid}/cmdline").read_bytes()
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            # forked: not multiprocessing's own
            if Path(f"/proc/{child}/cmdline").read_bytes() == own:
                os.kill(int(child), signal.SIGKILL)


def test_a_warning_is_no_failure_once_a_command_is_over():
    code = """
import atexit, os, signal, sys
from ssl_swin import __main__
atexit.register(os.kill, os.getpid(), signal.SIGUSR1)
sys.argv = ["ssl-swin", "--version"]
__main__.main()
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_no_process_waits_for_ever_when_it_leaves():
    code = """
import atexit, sys, time
from ssl_swin import __main__
__main__.CLEAN_EXIT_S = 0.2
atexit.register(time.sleep, 600)
sys.argv = ["ssl-swin", "--version"]
__main__.main()
"""
    command = [sys.executable, "-c", code]
    left = subprocess.run(command, timeout=60, capture_output=True, text=True, check=False)
    assert left.returncode == 1
    assert "Timeout" in left.stderr  # and where it hung


def test_no_command_waits_for_workers_that_ignore_signals():
    code = """
import multiprocessing, signal, sys, time
from ssl_swin.__main__ import main
def wait(ready):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready.set()
    time.sleep(600)
processes = multiprocessing.get_context("fork")
ready = processes.Event()
processes.Process(target=wait, args=[ready], daemon=True).start()
ready.wait()
sys.argv = ["ssl-swin", "--version"]
main()
"""
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("--help", 141),
        ("configs", 141),
        ("shards info --help", 141),
        ("shards info data/fashion-mnist-sample/test-000000.tar", 141),
        ("configs none", 2),
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_ends_quietly(words, status, unbuffered):
    """Whether Python notices as it prints or as it exits."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "ssl_swin", *words.split()]
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with os.fdopen(writer) as pipe:
        answer = subprocess.run(
            command, env=environment, stdout=pipe, stderr=subprocess.PIPE, check=False
        )
    assert answer.returncode == status
    assert answer.stderr.count(b"\n") == (status == 2)


def test_so_does_a_command_whose_errors_nobody_reads():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "ssl_swin", "configs", "none"]
    with os.fdopen(writer) as pipe:
        answer = subprocess.run(command, stdout=pipe, stderr=pipe, check=False)
    assert answer.returncode == 2


def test_the_help_of_shards_lists_its_commands(capsys):
    assert run(["shards", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "shards create" in shown
    assert "pretrain  " not in shown


def test_no_help_shows_types_as_python_writes_them(capsys):
    for words in (["shards", "create"], ["predict"], ["recipe"], ["finetune"]):
        with pytest.raises(SystemExit):
            run([*words, "--help"])
        shown = capsys.readouterr().out
        assert "<class" not in shown
        assert "Literal[" not in shown
