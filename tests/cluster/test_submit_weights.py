"""Jobs that begin with weights: of timm, and of the run before in a chain."""

from pathlib import Path

import pytest
import yaml

from tests.cluster.test_submit import FINETUNE, PRETRAIN, at_home, submit
from tests.conftest import TINY_MODEL
from tests.pretrained.timm_cache import fill, without_network

__all__ = ["at_home"]  # a fixture
TIMMS = "vit_tiny_patch16_224"


def test_a_pretraining_after_another_goes_on_with_its_weights(tmp_path, trained, capsys):
    """So in a chain of three: of a public model, on one set of images, on another, fine-tuned."""
    words = {name: ("--run-dir", tmp_path / name) for name in "abc"}
    chain = ["pretrain", PRETRAIN, *words["a"], "--init", trained[1], *TINY_MODEL]
    chain += ["--then", "pretrain", PRETRAIN, *words["b"], *TINY_MODEL]
    chain += ["--then", "finetune", FINETUNE, *words["c"], *TINY_MODEL]
    assert submit(*chain) == 0
    said = capsys.readouterr().out
    assert f"init: {trained[1]}\n" in said
    for name, setting, before in (("b", "init", "a"), ("c", "encoder", "b")):
        (script,) = (tmp_path / name).glob("*.sbatch")
        assert f"--{setting} {tmp_path / before}" in script.read_text()
        assert f"{setting}: {tmp_path / before}, which the step before makes" in said


@pytest.fixture
def taught(tmp_path):
    """Submit a run, and another one that it teaches; return the status."""
    words = {name: ("--run-dir", tmp_path / name) for name in "ab"}
    chain = ["pretrain", PRETRAIN, *words["a"], *TINY_MODEL, "--then", "pretrain", PRETRAIN]
    chain += [*words["b"], "--target.teacher"]
    to_it = ("--target.kind", "teacher")
    return lambda teacher, *more: submit(*chain, teacher, *(more or (*TINY_MODEL, *to_it)))


def test_a_run_may_be_taught_by_the_one_before_and_begins_without_its_weights(
    tmp_path, capsys, taught
):
    assert taught(tmp_path / "a/encoder.safetensors") == 0
    said = capsys.readouterr().out
    assert f"target.teacher: {tmp_path / 'a'}, which the step before makes" in said
    assert "init: none, from scratch, as the step before is the teacher" in said
    assert "--init" not in (tmp_path / "b" / "pretrain.sbatch").read_text()
    assert taught(tmp_path / "c") == 2
    assert f"{tmp_path / 'c'} is not there" in capsys.readouterr().err


def test_a_student_may_be_another_network_and_null_is_no_init(tmp_path, taught):
    kind = ("--target.kind", "teacher", "--init", "null")
    assert taught(tmp_path / "a", *kind, "--model.name", "swinv2_tiny_window8_256") == 0
    script = (tmp_path / "b" / "pretrain.sbatch").read_text()
    assert "--init null" in script
    assert script.count("--init") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--target.kind", "teacher", "--target.teacher-stage", "7"), "has 2; give 1 to 2"),
        (("--target.kind", "teacher", "--loss", "cubed"), "loss='cubed' is not known"),
        (
            ("--heads", "[{stage: 1, target: teacher}, {stage: 5}]"),
            "heads[1].stage=5, and the encoder has 2",
        ),
        (
            ("--target.kind", "teacher", "--data.mean", "[0.5,0.5,0.5]", "--data.std", "[1,1,1]"),
            "takes images of 1 channels, and those of this run have 3",
        ),
    ],
)
def test_what_is_asked_of_a_teacher_to_come_is_checked(tmp_path, capsys, taught, words, said):
    assert taught(tmp_path / "a", *TINY_MODEL, *words) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("encoder", "told"),
    [
        ("timm:resnet18", "is a model of timm for which there is no encoder here"),
        (f"timm:{TIMMS}:no/file", "--encoder timm:vit_tiny_patch16_224:no/file: there is no such"),
    ],
)
def test_what_is_no_encoder_of_timm_is_refused_before_a_job_is_queued(
    tmp_path, capsys, encoder, told
):
    words = ["finetune", FINETUNE, "--run-dir", tmp_path / "run", "--encoder-channels", "average"]
    assert submit(*words, "--encoder", encoder) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert not (tmp_path / "run").exists()


def test_weights_of_timm_that_are_not_in_its_cache_are_fetched_for_the_job(
    tmp_path, monkeypatch, capsys
):
    without_network(monkeypatch, tmp_path / "timm")
    content = yaml.safe_load(Path(PRETRAIN).read_text())
    del content["model"]
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    words = ["pretrain", tmp_path / "own.yaml", "--run-dir", tmp_path / "run"]
    words += ["--encoder-channels", "average", "--init", f"timm:{TIMMS}", "--model.img-size", 32]
    words += ["--mask.mask-patch-size", 16]
    assert submit(*words, "--dry-run") == 0
    assert f"init: timm:{TIMMS}, not checked: whether timm's weights" in capsys.readouterr().out
    assert submit(*words) == 1
    assert "are not in its cache and cannot be fetched" in capsys.readouterr().err
    fill(tmp_path / "timm", TIMMS)
    assert submit(*words) == 0
    assert f"init: timm:{TIMMS}, in timm's cache" in capsys.readouterr().out
