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


def test_a_run_may_be_taught_by_the_one_before(tmp_path, capsys):
    words = {name: ("--run-dir", tmp_path / name) for name in "ab"}
    chain = ["pretrain", PRETRAIN, *words["a"], *TINY_MODEL, "--then", "pretrain", PRETRAIN]
    chain += [*words["b"], *TINY_MODEL, "--target.kind", "teacher", "--target.teacher"]
    assert submit(*chain, tmp_path / "a") == 0
    assert (
        f"target.teacher: {tmp_path / 'a'}, which the step before makes" in capsys.readouterr().out
    )
    assert submit(*chain, tmp_path / "c") == 2
    assert f"{tmp_path / 'c'} is not there" in capsys.readouterr().err


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
