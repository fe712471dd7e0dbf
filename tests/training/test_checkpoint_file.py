import io
import os
import pickle
from pathlib import Path

import pytest
import torch

from ssl_swin.training.checkpoint_file import (
    FORMAT,
    DamagedCheckpoint,
    read_checkpoint,
    write_checkpoint,
)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_a_checkpoint_is_read_back_as_it_was_written(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    weights = {"a": torch.arange(3.0), "b": torch.zeros(2, dtype=torch.int64)}
    write_checkpoint(path, {"format": FORMAT, "step": 3, "model": weights, "metrics": {"x": 0.5}})
    state = read_checkpoint(path)
    assert (state["step"], state["metrics"]) == (3, {"x": 0.5})
    assert all(torch.equal(state["model"][name], weights[name]) for name in weights)
    assert os.listdir(path.parent) == ["last.ckpt"]


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"]r}", b"ho ", b".\xbd;\x12", b"\xff\xfe\xfa", b"PK\x03\x04", bytes(999)],
)
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path, data):
    path = tmp_path / "x.ckpt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"x.ckpt cannot be read as a checkpoint") as info:
        read_checkpoint(path)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_checkpoint_cut_short_is_refused(tmp_path, share):
    path = tmp_path / "x.ckpt"
    write_checkpoint(path, {"format": FORMAT, "model": {"a": torch.zeros(10_000)}})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        read_checkpoint(path)


def test_a_byte_that_is_not_what_was_written_is_found_or_of_no_matter(tmp_path):
    path, weights = tmp_path / "x.ckpt", torch.arange(300.0)
    write_checkpoint(path, {"format": FORMAT, "step": 3, "model": {"a": weights}})
    whole, found = path.read_bytes(), 0
    at = whole.index(weights.numpy().tobytes())
    for place in [*range(0, len(whole), 7), at, at + 600]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 64]) + whole[place + 1 :])
        try:
            state = read_checkpoint(path)
        except DamagedCheckpoint:
            found += 1
            continue
        assert not at <= place < at + 4 * 300
        assert (state["step"], state["model"]["a"].tolist()) == (3, weights.tolist())
    assert found > 4 * 300 / 7


@pytest.mark.parametrize("missing", ["nothing.ckpt", "."])
def test_a_checkpoint_that_is_not_there_is_refused(tmp_path, missing):
    with pytest.raises(ValueError, match=r"cannot be read as a checkpoint: (No such|Is a)"):
        read_checkpoint(tmp_path / missing)


@pytest.mark.parametrize("state", [{}, {"format": FORMAT + 1}, [1], {"model": {}}])
def test_another_program_s_weights_are_refused_with_a_way_out(tmp_path, state):
    torch.save(state, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"is not a checkpoint of a run .* with `encoder`"):
        read_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize(
    "save", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state, 2))]
)
def test_nothing_in_a_checkpoint_is_executed(tmp_path, monkeypatch, save):
    monkeypatch.chdir(tmp_path)
    save({"format": FORMAT, "model": Bomb()}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        read_checkpoint(tmp_path / "x.ckpt")
    assert not (tmp_path / "executed").exists()


def bytes_read() -> int:
    """Bytes that this process has asked files for so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("rchar")).split()[1])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="no /proc")
def test_a_checkpoint_is_read_once(tmp_path):
    path = tmp_path / "x.ckpt"
    model = {str(n): torch.full((2**18,), float(n)) for n in range(16)}
    write_checkpoint(path, {"format": FORMAT, "model": model})
    before = bytes_read()
    state = read_checkpoint(path)
    assert bytes_read() - before < 1.1 * path.stat().st_size
    assert all(torch.equal(state["model"][name], value) for name, value in model.items())


class Storage(io.FileIO):
    """Gives up at whole tensors, but not at the table of what there is."""

    def readinto(self, buffer):
        if len(buffer) > 2**19:
            raise OSError(5, "Input/output error")
        return super().readinto(buffer)


def test_storage_that_fails_in_the_middle_of_a_checkpoint_is_no_damage(tmp_path, monkeypatch):
    path = tmp_path / "x.ckpt"
    write_checkpoint(path, {"format": FORMAT, "model": {"a": torch.zeros(2**18)}})
    monkeypatch.setattr(Path, "open", lambda path, *_, **__: Storage(path))
    with pytest.raises(OSError, match="Input/output error"):
        read_checkpoint(path)
