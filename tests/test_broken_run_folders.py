"""Every command on a run folder that is missing, empty or half-written: one clear line."""

import itertools
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ssl_swin.__main__ import COMMANDS, run
from tests.conftest import png

pytestmark = pytest.mark.usefixtures("in_the_checkout", "short_timing")

TINY_LENGTH = (
    *("--optim.epochs=1", "--optim.warmup-epochs=0", "--training.global-batch-size=8"),
    *("--data.mean=[0.286]", "--data.std=[0.353]", "--data.rand-augment="),
    *("--data.num-workers=0", "--training.num-threads=1"),
)
LAST, PREVIOUS = "checkpoints/last.ckpt", "checkpoints/previous.ckpt"
ENCODER, CLASSIFIER = "encoder.safetensors", "classifier.safetensors"
RESULTS = ("summary.json", ENCODER, CLASSIFIER)  # of a run that has ended
LINES = ("lives.jsonl", "ends.jsonl", "metrics.jsonl", "checkpoints.jsonl")


def only(*names: str) -> Callable[[Path], None]:
    """Leave these files of a run alone."""

    def leave(folder: Path) -> None:
        kept = {name: (folder / name).read_bytes() for name in names}
        shutil.rmtree(folder)
        folder.mkdir()
        for name, content in kept.items():
            (folder / name).write_bytes(content)

    return leave


def half(*names: str, without: tuple[str, ...] = (), keep: float = 0.5) -> Callable[[Path], None]:
    """Leave the first half of these files, as far as there are such; and no file of the others."""

    def cut(folder: Path) -> None:
        for name in without:
            (folder / name).unlink(missing_ok=True)
        for name in filter(lambda name: (folder / name).is_file(), names):
            content = (folder / name).read_bytes()
            (folder / name).write_bytes(content[: int(len(content) * keep)])

    return cut


def as_empty_files(folder: Path) -> None:
    """Leave no byte in any file."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")


def after_a_whole_one(folder: Path) -> None:
    """Cut the last checkpoint; there is one before."""
    shutil.copy(folder / LAST, folder / PREVIOUS)
    half(LAST, without=RESULTS)(folder)


def beside_the_run(folder: Path) -> None:
    """Cut what others make of a run: an evaluation, its picture, the id of a tracker."""
    for name in ("evaluation/test/summary.json", "tracking/wandb.json", "tracking/mlflow.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text('{"measures": {"top1": 5')
    (folder / "evaluation/test/confusion.png").write_bytes(png(0)[:40])


def on_failing_storage(folder: Path) -> None:
    """Let reads fail as those of a broken disk do: this file of Linux has no first byte."""
    for name in ("lives.jsonl", "summary.json", "config.yaml", "owner.json", ENCODER, CLASSIFIER):
        if (folder / name).exists():
            (folder / name).unlink()
            (folder / name).symlink_to("/proc/self/mem")


def as_file(folder: Path) -> None:
    """Put a file where the folder was."""
    shutil.rmtree(folder)
    folder.write_text("a note")


STATES = {
    "missing": shutil.rmtree,
    "a file": as_file,
    "empty": only(),
    "empty files": as_empty_files,
    "only config.yaml": only("config.yaml"),
    "only lives.jsonl": only("lives.jsonl"),
    "no config.yaml": half(without=("config.yaml",)),
    "half a config.yaml": half("config.yaml"),  # with all of its data
    "a tenth of a config.yaml": half("config.yaml", keep=0.1),
    "half a summary.json": half("summary.json"),
    "half a last line": half(*LINES, keep=0.97),
    "no checkpoint": half(without=(LAST, "summary.json")),
    "half a checkpoint": half(LAST, without=RESULTS),
    "half a checkpoint after a whole one": after_a_whole_one,
    "no weights": half(without=(ENCODER, CLASSIFIER)),
    "half an encoder": half(ENCODER, CLASSIFIER),
    "no card": half(without=("encoder.json", "classifier.json")),
    "half of what is beside it": beside_the_run,
    "storage fails": on_failing_storage,
}

# command -> its words, of RUN, GOOD (the same run, whole), DATA, IMAGE, and OUT for what it writes
ROWS = {
    "report": "report RUN",
    "report of two": "report GOOD RUN",
    "report, a page": "report RUN -o OUT/report.html",
    "status": "status RUN",
    "embed": "embed RUN --data DATA -o OUT/features.npy --num-workers 0",
    "export": "export RUN --format timm -o OUT/timm",
    "evaluate": "evaluate RUN --data DATA --test DATA -o OUT/frozen --measures knn --num-workers 0",
    "evaluate two": "evaluate GOOD RUN --data DATA --test DATA -o OUT/frozen --measures knn"
    " --num-workers 0",
    "evaluate, classes": "evaluate RUN --data DATA -o OUT/classes --num-workers 0",
    "export, classes": "export RUN --format timm --part classifier -o OUT/timm",
    "predict": "predict RUN IMAGE -o OUT/predictions.csv --num-workers 0",
    "finetune": "finetune --encoder RUN --run-dir OUT/tuned FINETUNE",
    "submit": "submit finetune --encoder RUN --run-dir OUT/tuned FINETUNE --dry-run",
    "submit evaluate": "submit evaluate RUN --data DATA --test DATA -o OUT/frozen --dry-run",
    "pretrain": "pretrain PRETRAIN --run-dir RUN",
    "pretrain, planned": "pretrain PRETRAIN --run-dir RUN --dry-run",
    "submit pretrain": "submit pretrain PRETRAIN --run-dir RUN --dry-run",
    "resume": "pretrain PRETRAIN --run-dir OUT/new --resume-from RUN/checkpoints/last.ckpt"
    " --dry-run",
    "its config": "pretrain RUN/config.yaml --run-dir RUN --dry-run",
    # where images are asked for
    "embed it": "embed GOOD --data RUN -o OUT/features.npy",
    "predict it": "predict TUNED RUN -o OUT/predictions.csv",
    "recipe": "recipe RUN -o OUT/my.yaml",
    "doctor": "doctor --data RUN",
    "shards create": "shards create RUN OUT/shards",
    "shards index": "shards index RUN",
    "shards verify": "shards verify RUN",
    "shards info": "shards info RUN",
    "configs": "configs RUN",
}
# What rightly works, by what is left.
A_CONFIG = {"half a config.yaml", "a tenth of a config.yaml"}
BESIDE = {"half a last line", "no card", "half of what is beside it"}  # nobody needs that, or all
ALL_BUT_CONFIG = BESIDE | {"no config.yaml", *A_CONFIG}
CUT_CHECKPOINT = {"half a checkpoint", "half a checkpoint after a whole one"}
NO_ENCODER = {"no weights", "half an encoder"}
TELLS = ALL_BUT_CONFIG | CUT_CHECKPOINT | NO_ENCODER | {"only lives.jsonl", "no checkpoint"}
HAS_ENCODER = ALL_BUT_CONFIG | {"half a summary.json", "no checkpoint"}
HAS_WEIGHTS = HAS_ENCODER | {"no weights"}  # the last checkpoint has them
CHOOSES = HAS_ENCODER - {"a tenth of a config.yaml"}  # settings, by the data of the config
HAS_CHECKPOINT = ALL_BUT_CONFIG | NO_ENCODER | {"half a summary.json"}
BEGINS = {"missing", "empty", "only config.yaml", "only lives.jsonl"}
GOES_ON = HAS_CHECKPOINT | {"half a checkpoint after a whole one"}  # from the one before
WORKS = {
    "report": TELLS,
    "report of two": TELLS,
    "report, a page": TELLS,
    "status": TELLS | {"half a summary.json", "empty files"},
    "embed": HAS_WEIGHTS,
    "export": HAS_WEIGHTS,
    "evaluate": HAS_WEIGHTS,
    "evaluate two": HAS_WEIGHTS,
    "finetune": CHOOSES,
    "submit": CHOOSES,
    "submit evaluate": HAS_WEIGHTS,
    "pretrain": BEGINS | GOES_ON,  # what a finished run lacks is written anew
    "pretrain, planned": BEGINS | GOES_ON,
    "submit pretrain": BEGINS | {"half a summary.json", "half a checkpoint after a whole one"},
    "resume": HAS_CHECKPOINT | {"storage fails"},  # not that of the checkpoint
    "its config": GOES_ON - {"no config.yaml", *A_CONFIG} | {"only config.yaml"},
    "predict it": {"a file"},  # an image that cannot be decoded, which is counted
}
WORKS_TUNED = HAS_ENCODER
SAME_RUN = {"pretrain", "pretrain, planned", "submit pretrain", "its config"}
NOT_READ = ("configs", "predict it", "embed it", "recipe", "doctor")  # nothing of a run is
CLASSES = ("evaluate, classes", "predict", "export, classes")  # of a fine-tuning, too
LONG = {
    "embed",
    "evaluate",
    "evaluate two",
    "finetune",
    "submit",
    "submit evaluate",
    *SAME_RUN,
    "resume",
}
MOST_LIKELY = {"missing", "half a checkpoint after a whole one", "half an encoder", "storage fails"}


def contents(folder: Path) -> dict[str, bytes] | None:
    """Each file below a folder, or what is there instead."""
    if folder.is_file():
        return {"": folder.read_bytes()}
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path): path.read_bytes() for path in files} if folder.is_dir() else None


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    """An image outside of any set."""
    path = tmp_path_factory.mktemp("image") / "image.png"
    path.write_bytes(png(0))
    return path


@pytest.fixture(scope="session")
def whole(two_step_run, tmp_path_factory):
    """By kind, the words of a run of two steps after its command, and its folder."""
    (_, *words), folder = two_step_run
    data = next(word for word in words if word.startswith("--data.shards="))
    tuning = [data, *TINY_LENGTH, "--num-classes=10"]
    tuned = tmp_path_factory.mktemp("tuned") / "run"
    assert run(["finetune", f"--encoder={folder}", *tuning, f"--run-dir={tuned}"]) == 0
    return {"pretrain": (words, folder), "finetune": (tuning, tuned)}


def broken(whole, kind, row, state, image, tmp_path):
    """Bring a run into a state; return the words of a command on it."""
    copy, good = tmp_path / "run", whole[kind][1]
    shutil.copytree(good, copy)
    STATES[state](copy)
    (tmp_path / "out").mkdir()
    data = next(word for word in whole[kind][0] if word.startswith("--data.shards="))
    stands = {
        "RUN": copy,
        "GOOD": good,
        "TUNED": whole["finetune"][1],
        "DATA": data.partition("=")[2],
        "IMAGE": image,
        "OUT": tmp_path / "out",
    }
    lists = {"PRETRAIN": whole["pretrain"][0], "FINETUNE": whole["finetune"][0]}
    words = [word for name in ROWS[row].split() for word in lists.get(name, [name])]
    return [re.sub(r"\b[A-Z]+\b", lambda word: str(stands[word[0]]), word) for word in words]


def cases():
    """Yield kind, command and state; those that take longer are for the slow tests, but for few."""
    kinds = [*(("pretrain", row) for row in ROWS), *(("finetune", row) for row in CLASSES)]
    for (kind, row), state in itertools.product(kinds, STATES):
        long = row in LONG and state not in MOST_LIKELY
        yield pytest.param(kind, row, state, marks=[pytest.mark.slow] * long)


@pytest.mark.parametrize(("kind", "row", "state"), [*cases()])
def test_a_broken_run_folder_is_told_in_one_line(kind, row, state, whole, image, tmp_path, capsys):
    words = broken(whole, kind, row, state, image, tmp_path)
    before = contents(tmp_path / "run")
    capsys.readouterr()
    status = run(words)
    told = capsys.readouterr()
    works = WORKS_TUNED if kind == "finetune" else WORKS.get(row, ())
    if state in works:
        assert (status, told.err.count("error")) == (0, 0)
    else:
        failed = state == "storage fails" and row not in NOT_READ and "shards" not in row
        failed |= state == "no checkpoint" and row in SAME_RUN
        assert status == (1 if failed else 2), told
        (line,) = told.err.splitlines()
        assert line.startswith("error: ")
        assert str(tmp_path / "run") in line
        assert contents(tmp_path / "out") == {}
    if state not in works or row != "pretrain":
        assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("state", STATES)
def test_a_verdict_is_given_on_any_folder(state, whole, image, tmp_path, capsys):
    broken(whole, "pretrain", "report", state, image, tmp_path)
    assert run(["verdict", str(tmp_path / "run"), "1"]) in (0, 3, 4)
    (line, *more) = capsys.readouterr().err.splitlines()
    assert line.startswith("ssl-swin: ")
    assert more == [] or "this verdict stands" in more[0]


def test_each_command_has_a_row():
    begin = [words.split() for words in ROWS.values()]
    rows = {name for first, second, *_ in begin for name in (first, f"{first} {second}")}
    assert set(COMMANDS) - rows == {"demo", "verdict"}  # one takes none, one has its own test
