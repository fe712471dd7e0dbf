import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ssl_swin import __version__, signals
from ssl_swin.__main__ import COMMANDS, run
from ssl_swin.data.shards.making import INDEX_LOCK
from ssl_swin.data.shards.one_maker import one_maker

ROOT = Path(__file__).parents[1]
PRETRAIN = "configs/pretrain/demo.yaml"
FINETUNE = "configs/finetune/demo.yaml"
SAMPLE = "data/fashion-mnist-sample"


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)
    yield
    signals.forget()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would take what follows for an accident
    for process in multiprocessing.active_children():  # as `main` does; they would be waited for
        process.kill()


@pytest.fixture
def refused(capsys, tmp_path):
    """Run a command that must be refused: one line on stderr, status 2, nothing written."""

    def check(*arguments, run_dir=None):
        folder = run_dir or tmp_path / "untouched"
        before = sorted(folder.rglob("*")) if folder.exists() else None
        if arguments[0] in ("pretrain", "finetune") and len(arguments) > 1:
            arguments = (*arguments, f"--run_dir={folder}", "--training.num_threads=1")
        assert run([str(argument) for argument in arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.endswith("\n")
        assert error.count("\n") == 1
        assert (sorted(folder.rglob("*")) if folder.exists() else None) == before
        return error

    return check


def test_a_run_that_waits_for_its_index_hears_a_signal(tiny_shards, tmp_path):
    shards = tiny_shards([2])
    code = f"""
import os, signal, sys
from ssl_swin import signals
from ssl_swin.__main__ import run
signals.watch()
os.kill(os.getpid(), signal.SIGTERM)
sys.exit(run(["pretrain", {PRETRAIN!r}, "--data.shards={shards}", "--run_dir={tmp_path}"]))
"""
    command = [sys.executable, "-c", code]
    with one_maker(shards / INDEX_LOCK, str):
        left = subprocess.run(command, timeout=120, capture_output=True, text=True, check=False)
    assert left.returncode == 75
    assert "stopped before the first step: SIGTERM" in left.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"], ["shards"]])
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


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("pretrian", "pretrain"), ("finetun", "finetune"), ("shards inf", "shards info")],
)
def test_an_unknown_command_is_told_the_nearest(refused, wrong, right):
    assert f"did you mean {right}?" in refused(*wrong.split())


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("--optim.epoch=3", "optim.epochs"),
        ("--mask_ratio=0.5", "mask.mask_ratio"),
        ("--run-dir=x", "run_dir"),
        ("--resume_from=x", "resume-from"),
    ],
)
def test_an_unknown_option_is_told_the_nearest(refused, wrong, right):
    error = refused("pretrain", PRETRAIN, wrong)
    assert f"unknown option {wrong.partition('=')[0]}; did you mean {right}?" in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data:\n  shard: x\n", "unknown key data.shard; did you mean data.shards?"),
        ("epochs: 3\n", "unknown key epochs; did you mean optim.epochs?"),
        ("- a\n- b\n", "is not a config: it holds no `key: value` lines"),
        ("", "is not a config"),
        ("a: [\n", "is not YAML"),
        ("a: \x00", "is not YAML"),
        (b"a: \xff", "is not YAML"),
        ("optim: 3\n", "optim must hold `key: value` lines"),
        ("mask:\ndata:\n  shards: x\n", "mask must hold `key: value` lines"),
        ("data:\n  shards: x\noptim:\n  epochs: many\n", "many"),
    ],
)
def test_a_broken_file_is_refused(refused, tmp_path, text, message):
    (tmp_path / "run.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert message in refused("pretrain", tmp_path / "run.yaml")


def test_a_file_that_is_not_there_is_refused(refused):
    assert "nowhere.yaml" in refused("pretrain", "nowhere.yaml")
    assert "run_dir" in refused("pretrain")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--optim.epochs=x", "optim.epochs"),
        ("--training.precision=fp8", "training.precision"),
        ("--data.mean=[0.1,0.2]", "data.mean has 2"),
        ("--seed=-1", "seed=-1 must be 0 or more"),
        (f"--data.shards={SAMPLE}/pretrain-{{000003..000007}}.tar", "pretrain-000005.tar"),
        ("--data.shards=configs", "shards=configs matches no tar"),
        ("--data.val_shards=nowhere", "shards=nowhere matches no tar"),
        ("--mask.mask_patch_size=7", "mask_patch_size=7 does not divide img_size=32"),
        ("--mask.mask_ratio=1", "mask_ratio=1.0 hides 16 of 16"),
        ("--training.global_batch_size=20000", "larger than the data: 10000 samples"),
        ("--data.num_lanes=7", "num_lanes=7 does not divide"),
        ("--data.shards=null", "data.shards=None and 0 data.sets: give one of the two"),
        ("--data.samples_per_epoch=9", "data.samples_per_epoch=9 goes with data.sets"),
        ("--model.name=swin_smal", "nearest: "),
        ("--model.depths=[2]", "one value per stage"),
        ("--resume-from=nowhere.ckpt", "nowhere.ckpt cannot be read"),
        ("--resume-from=Makefile", "Makefile cannot be read"),
    ],
)
def test_what_does_not_fit_is_refused(refused, option, message):
    assert message in refused("pretrain", PRETRAIN, option)


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (
            f"shards: {SAMPLE}/pretrain-000001.tar, weight: 0",
            "data.sets.weight=0.0 must be greater than 0",
        ),
        (
            f"shards: {SAMPLE}/pretrain-000001.tar, weight: 0.0001",
            "data.sets[1].weight=0.0001 is less than 1/1000",
        ),
        (f"shards: {SAMPLE}/pretrain-000000.tar, weight: 1", "is in two of the sets"),
        (f"shard: {SAMPLE}, weight: 1", "unknown key data.sets.shard; did you mean"),
    ],
)
def test_sets_that_cannot_be_mixed_are_refused(refused, tmp_path, one, message):
    config = tmp_path / "mix.yaml"
    sets = f"[{{shards: {SAMPLE}/pretrain-000000.tar, weight: 1}}, {{{one}}}]"
    config.write_text(f"run_dir: runs/none\ndata:\n  sets: {sets}\n")
    assert message in refused("pretrain", str(config))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--num_classes=1", "num_classes=1 must be 2 or more"),
        ("--num_classes=5", "have no class of the model, which knows 0 to 4"),
        ("--data.num_labels=5000", "needs 500 images of class 0"),
        ("--data.rand_augment=rand-m9", "needs RGB images"),
        (f"--data.shards={SAMPLE}/pretrain-000004.tar", "without a label in"),
        ("--encoder=nowhere", "nowhere"),
    ],
)
def test_what_does_not_fit_fine_tuning_is_refused(refused, option, message):
    assert message in refused("finetune", FINETUNE, option)


def test_another_run_in_the_folder_is_refused(refused, trained):
    arguments, folder = trained
    error = refused(*arguments, "--optim.base_lr=1", run_dir=folder)
    assert "holds a run with optim.base_lr=0.064, this config says 1.0" in error


def test_a_changed_shard_set_is_refused(refused, trained, tiny_shards):
    arguments, folder = trained
    error = refused(*arguments, f"--data.shards={tiny_shards([9, 8])}", run_dir=folder)
    assert "the training shards changed: num_samples was 16, is 17" in error


def test_a_checkpoint_of_another_architecture_is_refused(refused, trained):
    arguments, folder = trained
    checkpoint = folder / "checkpoints" / "last.ckpt"
    error = refused(*arguments, "--model.embed_dim=32", f"--resume-from={checkpoint}")
    assert "the checkpoint is of another architecture" in error


def test_shards_that_are_missing_once_a_run_has_a_checkpoint_are_tried_again(
    two_step_run, tiny_shards, tmp_path, capsys
):
    shards, folder = tiny_shards([8, 8]), tmp_path / "run"
    arguments = [*two_step_run[0], f"--data.shards={shards}", f"--run_dir={folder}"]
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


@pytest.mark.parametrize(
    "words",
    [
        ["submit", "pretrain", PRETRAIN, "--cluster", "nowhere.yaml"],
        ["finetune", FINETUNE, "--encoder", "Makefile/below"],
        ["pretrain", PRETRAIN, "--resume-from", "Makefile/below"],
        ["pretrain", PRETRAIN, "--data.shards", ""],
        ["shards", "index", SAMPLE, "--num_workers", "0"],
        ["shards", "create", SAMPLE, "Makefile"],
        ["report", "x" * 300],
    ],
    ids=" ".join,
)
def test_a_path_that_cannot_be_used_is_refused(refused, words):
    refused(*words)


def test_a_finished_run_says_so_and_writes_nothing(trained, capsys):
    arguments, folder = trained
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert run([*arguments, f"--run_dir={folder}"]) == 0
    assert f"{folder} is finished" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_dry_run_says_what_would_be_trained_and_writes_nothing(two_step_run, tmp_path, capsys):
    arguments, _ = two_step_run
    assert run([*arguments, f"--run_dir={tmp_path / 'run'}", "--dry-run"]) == 0
    assert "data: 16 images in 2 shards" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_what_the_config_says_on_the_command_line_goes_before_the_file(two_step_run):
    _, folder = two_step_run
    saved = (folder / "config.yaml").read_text()
    assert "global_batch_size: 8" in saved
    assert "mask_patch_size: 8" in saved


def test_what_a_loader_worker_has_to_say_is_one_line(tiny_shards, tmp_path, capsys, two_step_run):
    shards = tiny_shards([16], broken=range(16))
    arguments = [*two_step_run[0], f"--data.shards={shards}", f"--run_dir={tmp_path / 'run'}"]
    assert run([*arguments, "--data.num_workers=2"]) == 2
    error = capsys.readouterr().err
    assert error.endswith("none of its 16 images can be decoded\n")
    assert error.count("\n") == 1


def test_a_killed_loader_worker_ends_the_run_with_one_line(two_step_run, tmp_path):
    folder = tmp_path / "run"
    options = ["--optim.epochs=100", "--data.num_workers=1", "--training.ledger=true"]
    command = [sys.executable, "-m", "ssl_swin", *two_step_run[0], *options, f"--run_dir={folder}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        kill_a_child_after_two_steps(process.pid, folder)
        error = process.communicate(timeout=120)[1].splitlines()[-1]
    assert process.returncode == 1
    assert error.startswith("error: DataLoader worker")
    assert error.endswith("The same command goes on from the last save.")


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
