"""Every command on a run folder that is missing, empty or half-written: one clear line."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ssl_swin.__main__ import COMMANDS, run
from tests.conftest import png

pytestmark = pytest.mark.usefixtures("in_the_checkout", "short_timing")

NO_RUN_FOLDER = {"configs", "demo", "doctor", "recipe", *(c for c in COMMANDS if " " in c)}
TINY_LENGTH = (
    *("--optim.epochs=1", "--optim.warmup-epochs=0", "--training.global-batch-size=8"),
    *("--data.mean=[0.286]", "--data.std=[0.353]", "--data.rand-augment="),
    *("--data.num-workers=0", "--training.num-threads=1"),
)
LAST, ENCODER, CLASSIFIER = "checkpoints/last.ckpt", "encoder.safetensors", "classifier.safetensors"


def only(*names: str) -> Callable[[Path], None]:
    """Leave these files of a run alone."""

    def leave(folder: Path) -> None:
        kept = {name: (folder / name).read_bytes() for name in names}
        shutil.rmtree(folder)
        folder.mkdir()
        for name, content in kept.items():
            (folder / name).write_bytes(content)

    return leave


def half(*names: str, without: tuple[str, ...] = ()) -> Callable[[Path], None]:
    """Leave the first half of these files, as far as there are such."""

    def cut(folder: Path) -> None:
        for name in without:
            (folder / name).unlink(missing_ok=True)
        for name in filter(lambda name: (folder / name).is_file(), names):
            content = (folder / name).read_bytes()
            (folder / name).write_bytes(content[: len(content) // 2])

    return cut


def as_file(folder: Path) -> None:
    """Put a file where the folder was."""
    shutil.rmtree(folder)
    folder.write_text("a note")


STATES = {
    "missing": shutil.rmtree,
    "a file": as_file,
    "empty": only(),
    "only config.yaml": only("config.yaml"),
    "only lives.jsonl": only("lives.jsonl"),
    "half a config.yaml": half("config.yaml"),
    "half a summary.json": half("summary.json"),
    "half a checkpoint": half(LAST, without=("summary.json", ENCODER, CLASSIFIER)),
    "half an encoder": half(ENCODER, CLASSIFIER),
}

# command -> its words, of RUN, GOOD (the same run, whole), DATA, IMAGE, and OUT for what it writes
ROWS = {
    "report": "report RUN",
    "report of two": "report GOOD RUN",
    "report, a page": "report RUN -o OUT/report.html",
    "status": "status RUN",
    "embed": "embed RUN --data DATA -o OUT/features.npy --num-workers 0",
    "evaluate": "evaluate RUN --data DATA --test DATA -o OUT/frozen --measures knn --num-workers 0",
    "evaluate two": "evaluate GOOD RUN --data DATA --test DATA -o OUT/frozen --measures knn"
    " --num-workers 0",
    "evaluate, classes": "evaluate RUN --data DATA -o OUT/classes --num-workers 0",
    "predict": "predict RUN IMAGE -o OUT/predictions.csv --num-workers 0",
    "finetune": "finetune --encoder RUN --run-dir OUT/tuned FINETUNE",
    "submit": "submit finetune --encoder RUN --run-dir OUT/tuned FINETUNE --dry-run",
    "pretrain": "pretrain PRETRAIN --run-dir RUN",
    "pretrain, planned": "pretrain PRETRAIN --run-dir RUN --dry-run",
    "submit pretrain": "submit pretrain PRETRAIN --run-dir RUN --dry-run",
}
# what rightly works, for it tells what is there, needs no file that is cut, or mends it
TELLS = {"only lives.jsonl", "half a config.yaml", "half a checkpoint", "half an encoder"}
HAS_ENCODER = {"half a config.yaml", "half a summary.json"}
NO_CHECKPOINT = {"missing", "empty", "only config.yaml", "only lives.jsonl"}
MENDS = {*NO_CHECKPOINT, *HAS_ENCODER, "half an encoder"}
WORKS = {
    "report": TELLS,
    "report of two": TELLS,
    "report, a page": TELLS,
    "status": {*TELLS, "half a summary.json"},
    "embed": HAS_ENCODER,
    "evaluate": HAS_ENCODER,
    "evaluate two": HAS_ENCODER,
    "evaluate, classes": set[str](),  # a pretraining
    "predict": set[str](),
    "finetune": HAS_ENCODER,
    "submit": HAS_ENCODER,
    "pretrain": MENDS,
    "pretrain, planned": MENDS,
    "submit pretrain": NO_CHECKPOINT,  # the others are finished
}
CLASSES = ("evaluate, classes", "predict")  # of a fine-tuning, too


def contents(folder: Path) -> dict[str, bytes] | None:
    """Each file below a folder, or what is there instead."""
    if folder.is_file():
        return {"": folder.read_bytes()}
    files = [path for path in folder.rglob("*") if path.is_file()]
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


def broken(whole, kind, state, image, tmp_path):
    """Bring a run into a state; return what stands for each capital word."""
    copy, good = tmp_path / "run", whole[kind][1]
    shutil.copytree(good, copy)
    STATES[state](copy)
    out = tmp_path / "out"
    out.mkdir()
    data = next(word for word in whole[kind][0] if word.startswith("--data.shards="))
    return {
        "RUN": [str(copy)],
        "GOOD": [str(good)],
        "DATA": [data.partition("=")[2]],
        "IMAGE": [str(image)],
        "PRETRAIN": whole["pretrain"][0],
        "FINETUNE": whole["finetune"][0],
    } | {
        name: [name.replace("OUT", str(out))]
        for row in ROWS.values()
        for name in row.split()
        if "OUT" in name
    }


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("kind", "row"), [*(("pretrain", row) for row in ROWS), *(("finetune", row) for row in CLASSES)]
)
def test_a_broken_run_folder_is_told_in_one_line(kind, row, state, whole, image, tmp_path, capsys):
    stands = broken(whole, kind, state, image, tmp_path)
    before = contents(tmp_path / "run")
    words = [word for name in ROWS[row].split() for word in stands.get(name, [name])]
    capsys.readouterr()
    status = run(words)
    told = capsys.readouterr()
    works = HAS_ENCODER if kind == "finetune" else WORKS[row]
    if state in works:
        assert (status, told.err.count("error")) == (0, 0)
    else:
        assert status == 2, told.out
        (line,) = told.err.splitlines()
        assert line.startswith("error: ")
        assert str(tmp_path / "run") in line
        assert contents(tmp_path / "out") == {}
    if state not in works or row != "pretrain":
        assert contents(tmp_path / "run") == before


def test_each_command_that_takes_a_run_folder_has_a_row():
    rows = {words.split()[0] for words in ROWS.values()}
    assert rows | NO_RUN_FOLDER | {"verdict"} == set(COMMANDS)
