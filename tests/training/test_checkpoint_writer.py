import os
import threading

import pytest
import torch

from ssl_swin.record.lines import read_lines
from ssl_swin.record.owner import LostOwnership
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training import checkpoint_file
from ssl_swin.training.checkpoint_file import FORMAT, read_checkpoint, write_checkpoint
from ssl_swin.training.checkpoint_writer import CheckpointWriter, keep_previous


def state(step):
    return {"format": FORMAT, "step": step, "model": {"weight": torch.full((3,), float(step))}}


def own():
    """The folder is ours."""


@pytest.mark.parametrize("links", [True, False])
def test_the_previous_checkpoint_is_kept_and_one_is_whole_at_every_moment(
    tmp_path, monkeypatch, links
):
    folder, seen = RunFolder(tmp_path), []

    def refuse(*_):
        raise OSError("no links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    for step in range(1, 5):

        def ready():
            keep_previous(folder)
            keep_previous(folder)  # as after a kill in between
            names = [path for path in (folder.last, folder.previous) if path.exists()]
            seen.append([read_checkpoint(path)["step"] for path in names])

        write_checkpoint(folder.last, {"format": FORMAT, "step": step}, ready)
    assert seen == ([[], [1, 1], [2, 2], [3, 3]] if links else [[], [1], [2], [3]])
    assert [read_checkpoint(p)["step"] for p in (folder.last, folder.previous)] == [4, 3]
    assert sorted(os.listdir(folder.last.parent)) == ["last.ckpt", "previous.ckpt"]


@pytest.mark.parametrize("background", [False, True])
def test_copies_are_written_and_the_reasons_are_kept(tmp_path, background):
    folder = RunFolder(tmp_path)
    writer = CheckpointWriter(folder, own, background)
    writer.write(state(1), [], ["steps"])
    writer.write(state(2), [folder.best, folder.kept(7)], ["best", "keep"])
    writer.finish()
    steps = {
        path.name: read_checkpoint(path)["step"] for path in (tmp_path / "checkpoints").iterdir()
    }
    assert steps == {"previous.ckpt": 1, "last.ckpt": 2, "best.ckpt": 2, "epoch-0007.ckpt": 2}
    lines = read_lines(folder.checkpoints)
    seconds = [line.pop(name) for line in lines for name in ("write_s", "pause_s") if name in line]
    assert lines == [{"step": 1, "reasons": ["steps"]}, {"step": 2, "reasons": ["best", "keep"]}]
    assert len(seconds) == (4 if background else 2)
    assert all(0 <= one < 60 for one in seconds)


def test_in_the_background_what_is_written_is_what_was_handed_over(tmp_path, monkeypatch):
    save, go_on = torch.save, threading.Event()

    def slow_save(content, file):
        go_on.wait()
        save(content, file)

    monkeypatch.setattr(checkpoint_file.torch, "save", slow_save)
    folder, content = RunFolder(tmp_path), state(1)
    writer = CheckpointWriter(folder, own, background=True)
    writer.write(content, [], ["steps"])
    content["model"]["weight"].add_(1)  # the next step
    writer.check()  # waits for nothing
    assert not folder.last.exists()
    go_on.set()
    writer.finish()
    assert read_checkpoint(folder.last)["model"]["weight"].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("background", [False, True])
def test_a_newer_owner_s_checkpoint_stays(tmp_path, background):
    folder = RunFolder(tmp_path)
    write_checkpoint(folder.last, state(9))

    def lost():
        raise LostOwnership("a newer life has it")

    writer = CheckpointWriter(folder, lost, background)
    with pytest.raises(LostOwnership):  # noqa: PT012
        writer.write(state(5), [], ["steps"])
        writer.finish()
    writer.finish()  # it is told once
    assert read_checkpoint(folder.last)["step"] == 9
    assert sorted(os.listdir(folder.last.parent)) == ["last.ckpt"]
    assert read_lines(folder.checkpoints) == []
