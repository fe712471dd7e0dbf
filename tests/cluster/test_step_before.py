from dataclasses import replace

import pytest

from ssl_swin.cluster.step_before import begins_with_last, check_encoder, maker_of
from ssl_swin.config.data import DataConfig, LabelledDataConfig
from ssl_swin.config.model import TargetConfig
from ssl_swin.config.run import FinetuneConfig, PretrainConfig
from ssl_swin.errors import UserError
from ssl_swin.record.run_folder import RunFolder

DATA = DataConfig("shards")
FIRST, NEXT = (PretrainConfig(f"runs/{name}", DATA) for name in "ab")
CLASSES = FinetuneConfig("runs/c", LabelledDataConfig("shards"))


@pytest.mark.parametrize(
    ("config", "given", "words"),
    [
        (NEXT, (), ["--init", "runs/a"]),
        (CLASSES, ("seed",), ["--encoder", "runs/a"]),
        (NEXT, ("init",), []),  # null
        (CLASSES, ("encoder",), []),
        (replace(NEXT, init="runs/other"), ("init",), []),
    ],
)
def test_a_stage_begins_with_the_one_before_unless_the_user_says_what_with(config, given, words):
    assert begins_with_last(config, given, [FIRST]) == (words, [])
    assert begins_with_last(config, given, []) == ([], [])


def test_a_student_does_not_begin_as_its_teacher():
    student = replace(NEXT, target=TargetConfig("teacher", teacher="runs/a/encoder.safetensors"))
    words, (said,) = begins_with_last(student, (), [FIRST])
    assert not words
    assert said.startswith("init: none, from scratch, as the step before is the teacher; --init ")
    assert begins_with_last(student, (), [FIRST, CLASSES])[0] == ["--init", "runs/c"]


def test_what_a_stage_makes_is_known_in_any_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("runs/a", "./runs/../runs/a/", str(tmp_path / "runs/a"), "runs/a/encoder.safetensors")
    assert all(maker_of(one, [FIRST, NEXT]) is FIRST for one in words)
    assert all(maker_of(one, [FIRST]) is None for one in (None, "runs", "runs/b", "timm:test_vit"))


def test_an_encoder_is_there_or_comes_from_the_stage_before(tmp_path):
    assert check_encoder("encoder", None, False) is None
    assert check_encoder("encoder", "runs/p", True) == "runs/p, which the step before makes"
    with pytest.raises(UserError, match="no such run folder"):
        check_encoder("encoder", str(tmp_path / "x"), False)
    with pytest.raises(UserError, match=r"no encoder.safetensors yet"):
        check_encoder("encoder", str(tmp_path), False)
    RunFolder(tmp_path).encoder.touch()
    assert check_encoder("encoder", str(tmp_path), False) == str(tmp_path)
