import inspect
import os
from pathlib import Path

import pytest

from ssl_swin.record.run_folder import File, RunFolder, classifier_file, encoder_file


def test_every_file_is_in_the_folder_and_none_is_another(tmp_path):
    folder = RunFolder(tmp_path)
    plain = [getattr(folder, n) for n, p in vars(RunFolder).items() if isinstance(p, File)]
    named = ("evaluation", "exported", "tracking")
    pictures = [folder.heldout_picture(which, "kind") for which in ("best", "last")]
    numbered = [
        getattr(folder, name)(str(number) if name in named else number)
        for name, method in inspect.getmembers(RunFolder, inspect.isfunction)
        if not name.startswith("_") and name != "heldout_picture"
        for number in (0, 7, 12345)
    ]
    paths = plain + numbered + pictures
    assert (len(plain), len(numbered)) == (26, 9 * 3)
    assert len(set(paths)) == len(paths)
    assert all(path.is_relative_to(tmp_path) for path in paths)
    assert sorted(map(folder.kept, (9, 10, 100))) == [folder.kept(n) for n in (9, 10, 100)]
    assert os.listdir(tmp_path) == []  # asking makes nothing


def test_an_encoder_is_given_as_its_file_or_as_its_run(tmp_path):
    file = RunFolder(tmp_path).encoder
    assert encoder_file(tmp_path) == encoder_file(file) == file
    assert encoder_file(tmp_path / "there-is-none") == tmp_path / "there-is-none"


def test_a_classifier_is_given_as_its_file_or_as_its_run(tmp_path):
    file = RunFolder(tmp_path).classifier
    assert classifier_file(tmp_path) == classifier_file(file) == file


def test_a_fine_tuning_lies_beside_its_pretraining():
    assert RunFolder(Path("runs/a/pretrain")).finetuning == Path("runs/a/finetune")
    assert RunFolder(Path("runs/b")).finetuning == Path("runs/b-finetune")


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ((), "encoder.safetensors"),
        (("pytorch_model.bin", "model.safetensors"), "model.safetensors"),
        (("model.safetensors", "encoder.safetensors"), "encoder.safetensors"),
        (("pytorch_model.bin",), "pytorch_model.bin"),
        (("step8/mp_rank_00_model_states.pt",), "step8/mp_rank_00_model_states.pt"),
        (("step7/mp_rank_00_model_states.pt",), "encoder.safetensors"),
    ],
)
def test_a_folder_of_another_library_has_its_encoder_where_that_puts_it(tmp_path, there, found):
    (tmp_path / "latest").write_text("step8\n")
    for name in there:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert encoder_file(tmp_path) == tmp_path / found
    assert encoder_file(tmp_path / "any.pth") == tmp_path / "any.pth"
