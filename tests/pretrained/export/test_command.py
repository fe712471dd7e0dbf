"""The command: where it writes, what it says, and what it refuses."""

import shutil
from pathlib import Path
from typing import get_args

import pytest

from ssl_swin.__main__ import run as command
from ssl_swin.pretrained.export import formats
from ssl_swin.pretrained.export.command import Name, usual_folder
from ssl_swin.pretrained.export.formats import EXPORT_FORMATS
from tests.pretrained.export.runs import exported


def refused(words, capsys):
    """Run it; return the one line that it says."""
    capsys.readouterr()
    assert command(["export", *map(str, words)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_the_flag_names_every_format():
    assert get_args(Name) == (*EXPORT_FORMATS,)


@pytest.mark.parametrize("name", EXPORT_FORMATS)
def test_each_writes_a_card_and_says_what_to_type(run, tmp_path, capsys, name):
    folder = exported(run[0], name, tmp_path / "a b" / name)
    told = capsys.readouterr().out
    assert f"{folder}: " in told
    assert all(path.name in told for path in folder.iterdir())
    assert "next, in Python with" in told
    assert str(folder) in told.partition("next, in Python")[2]
    assert (folder / "README.md").read_text().startswith("---\nlicense: unknown\n")
    assert {path.name for path in folder.parent.iterdir()} == {name}


def test_files_go_into_the_run_folder_or_beside_the_file_if_nobody_says(run, monkeypatch):
    source, _ = run
    assert command(["export", str(source), "--format", "timm"]) == 0
    assert (source / "exports/timm/model.safetensors").is_file()
    monkeypatch.chdir(source)
    assert command(["export", "encoder.safetensors", "--format", "timm"]) == 0
    assert (source / "encoder-timm/model.safetensors").is_file()
    named = usual_folder("timm:swin_tiny_patch4_window7_224.ms_in1k", "timm")
    assert named == Path("swin_tiny_patch4_window7_224.ms_in1k-timm")


def test_a_folder_that_holds_something_is_refused(run, tmp_path, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    exported(run[0], "timm", folder)  # an empty one is taken
    before = {path: path.read_bytes() for path in folder.iterdir()}
    line = refused([run[0], "--format", "safetensors", "-o", folder], capsys)
    assert f"output={folder} holds something; give another folder" in line
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    line = refused([run[0], "--format", "timm", "-o", folder / "config.json"], capsys)
    assert "Not a directory" in line


def test_what_fails_leaves_nothing_behind(run, tmp_path, monkeypatch):
    def fail(_, folder):
        (folder / "half").write_text("a")
        raise ZeroDivisionError

    broken = EXPORT_FORMATS["timm"].__class__(*vars(EXPORT_FORMATS["timm"]).values())
    object.__setattr__(broken, "write", fail)
    monkeypatch.setitem(formats.EXPORT_FORMATS, "timm", broken)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ZeroDivisionError):
        command(["export", str(run[0]), "--format", "timm", "-o", str(out / "timm")])
    assert list(out.iterdir()) == []


def test_what_a_format_cannot_express_is_one_line(tiny, tmp_path, capsys):
    from ssl_swin.pretrained.load import save_encoder

    save_encoder(tiny(shift="none"), tmp_path / "a.safetensors")
    line = refused([tmp_path / "a.safetensors", "--format", "timm"], capsys)
    assert "format=timm cannot express model.shift=none; use one of onnx, torchscript, " in line
    assert not (tmp_path / "a-timm").exists()


def test_a_run_that_goes_on_gives_its_last_checkpoint(two_step_run, tmp_path, capsys):
    shutil.copytree(two_step_run[1], tmp_path / "run")
    (tmp_path / "run/encoder.safetensors").unlink()
    exported(tmp_path / "run", "timm", tmp_path / "out")
    assert "a run that has not ended: its checkpoint after step 2" in capsys.readouterr().out
    whole = exported(two_step_run[1], "timm", tmp_path / "whole")
    one, other = (folder / "model.safetensors" for folder in (tmp_path / "out", whole))
    assert one.stat().st_size > 0
    from safetensors.torch import load_file

    first, second = load_file(one), load_file(other)
    assert all((first[name] == second[name]).all() for name in second)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--format", "caffe"], "format=caffe does not fit"),
        ([], "format"),
        (["--format", "timm", "--part", "head"], "part=head does not fit"),
        (["--format", "timm", "--license", "all rights"], "must be one word"),
    ],
)
def test_words_that_do_not_fit_are_one_line(run, capsys, words, told):
    assert told in refused([run[0], *words], capsys)
