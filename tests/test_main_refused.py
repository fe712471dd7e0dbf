"""Commands that are refused: one line, and nothing written."""

import pytest

from ssl_swin.__main__ import run

PRETRAIN = "configs/pretrain/demo.yaml"
FINETUNE = "configs/finetune/demo.yaml"
SAMPLE = "data/fashion-mnist-sample"

pytestmark = pytest.mark.usefixtures("in_the_checkout")


@pytest.fixture
def refused(capsys, tmp_path):
    """Run a command that must be refused: one line on stderr, status 2, nothing written."""

    def check(*arguments, run_dir=None):
        folder = run_dir or tmp_path / "untouched"
        before = sorted(folder.rglob("*")) if folder.exists() else None
        if arguments[0] in ("pretrain", "finetune") and len(arguments) > 1:
            arguments = (*arguments, f"--run-dir={folder}", "--training.num-threads=1")
        assert run([str(argument) for argument in arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.endswith("\n")
        assert error.count("\n") == 1
        assert (sorted(folder.rglob("*")) if folder.exists() else None) == before
        return error

    return check


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("pretrian", "pretrain"), ("finetun", "finetune"), ("shards inf", "shards info")],
)
def test_an_unknown_command_is_told_the_nearest(refused, wrong, right):
    assert f"did you mean {right}?" in refused(*wrong.split())


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("--optim.epoch=3", "--optim.epochs"),
        ("--mask_ratio=0.5", "--mask.mask-ratio"),
        ("--mask-ratio=0.5", "--mask.mask-ratio"),
        ("--rundir=x", "--run-dir"),
        ("--resume_form=x", "--resume-from"),
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
        ("- a\n- b\n", "is not a config: it must hold `key: value` lines; see `configs`"),
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
        ("--data.val-shards=nowhere", "shards=nowhere matches no tar"),
        ("--mask.mask-patch-size=7", "mask_patch_size=7 does not divide img_size=32"),
        ("--mask.mask-ratio=1", "mask_ratio=1.0 hides 16 of 16"),
        ("--training.global-batch-size=20000", "larger than the data: 10000 samples"),
        ("--data.num-lanes=7", "num_lanes=7 does not divide"),
        ("--seed=x", "error: seed=x does not fit; give int\n"),
        (
            "--optim.schedule=x",
            "error: optim.schedule=x does not fit; give cosine or multistep\n",
        ),
        ("--data.shards=null", "data.shards=None and 0 data.sets: give one of the two"),
        ("--data.samples-per-epoch=9", "data.samples_per_epoch=9 goes with data.sets"),
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
            "data.sets[1].weight=0 must be greater than 0",
        ),
        (
            f"shards: {SAMPLE}/pretrain-000001.tar, weight: 0.0001",
            "data.sets[1].weight=0.0001 is less than 1/1000",
        ),
        (f"shards: {SAMPLE}/pretrain-000000.tar, weight: 1", "is in two of the sets"),
        (f"shard: {SAMPLE}, weight: 1", "unknown key data.sets[1].shard; did you mean"),
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
        ("--num-classes=1", "num_classes=1 must be 2 or more"),
        ("--num-classes=5", "have no class of the model, which knows 0 to 4"),
        ("--data.num-labels=5000", "needs 500 images of class 0"),
        ("--data.rand-augment=rand-m9", "needs RGB images"),
        (
            f"--data.shards={SAMPLE}/pretrain-000004.tar",
            "none of the 1000 training images has a label",
        ),
        ("--encoder=nowhere", "nowhere"),
    ],
)
def test_what_does_not_fit_fine_tuning_is_refused(refused, option, message):
    assert message in refused("finetune", FINETUNE, option)


def test_another_run_in_the_folder_is_refused(refused, trained):
    arguments, folder = trained
    error = refused(*arguments, "--optim.base-lr=1", run_dir=folder)
    assert "holds a run with optim.base_lr=0.064, this config says 1.0" in error


def test_a_changed_shard_set_is_refused(refused, trained, tiny_shards):
    arguments, folder = trained
    error = refused(*arguments, f"--data.shards={tiny_shards([9, 8])}", run_dir=folder)
    assert "the training shards changed: num_samples was 16, is 17" in error


def test_a_checkpoint_of_another_architecture_is_refused(refused, trained):
    arguments, folder = trained
    checkpoint = folder / "checkpoints" / "last.ckpt"
    error = refused(*arguments, "--model.embed-dim=32", f"--resume-from={checkpoint}")
    assert "the checkpoint is of another architecture" in error


@pytest.mark.parametrize(
    "words",
    [
        ["submit", "pretrain", PRETRAIN, "--cluster", "nowhere.yaml"],
        ["finetune", FINETUNE, "--encoder", "Makefile/below"],
        ["pretrain", PRETRAIN, "--resume-from", "Makefile/below"],
        ["pretrain", PRETRAIN, "--data.shards", ""],
        ["shards", "index", SAMPLE, "--num-workers", "0"],
        ["shards", "create", SAMPLE, "Makefile"],
        ["report", "x" * 300],
    ],
    ids=" ".join,
)
def test_a_path_that_cannot_be_used_is_refused(refused, words):
    refused(*words)
