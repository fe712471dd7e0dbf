import pickle
import resource
import shutil

import pytest
import safetensors.torch
import torch

from ssl_swin.pretrained.beginnings import begins_like, is_safetensors
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.open import find_weights
from ssl_swin.pretrained.tensors import read_tensors


class RunsCode:
    """What a pickle calls when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f"import os; os.mkdir({str(self.path)!r})",)


ONNX = b"\x08\x0a\x12\x07pytorch\x1a\x062.14.1" + bytes(200)
BYTES = {
    "a web page": b"<!DOCTYPE html>\n<html><head><title>404</title>",
    "another web page": b"\n  <HTML lang='en'>" + b"x" * 4096,
    "XML": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "ONNX": ONNX,
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "gzip": b"\x1f\x8b\x08" + bytes(100),
    "NumPy": b"\x93NUMPY\x01\x00" + bytes(100),
    "zeros alone": bytes(4096),
    "JSON": b'{"message": "Not Found"}',
}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".safetensors", ".bin"])
@pytest.mark.parametrize("what", BYTES)
def test_what_is_no_weights_is_named_in_one_line(tmp_path, what, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(BYTES[what])
    with pytest.raises(PretrainedMismatch) as caught:
        find_weights(path)
    told = str(caught.value)
    assert what.removeprefix("another ").removeprefix("a ") in told
    assert told.startswith(str(path))
    assert "\n" not in told
    assert len(told) < 600


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin"])
def test_a_pickle_that_runs_code_is_not_run(tmp_path, protocol, suffix):
    path, ran = tmp_path / f"weights{suffix}", tmp_path / "ran"
    path.write_bytes(pickle.dumps({"state_dict": RunsCode(ran)}, protocol=protocol))
    with pytest.raises(PretrainedMismatch) as caught:
        find_weights(path)
    assert "\n" not in str(caught.value)
    assert not ran.exists()
    pickle.loads(path.read_bytes())
    assert ran.exists()  # else the test would show nothing


def test_a_header_longer_than_its_file_takes_no_memory(tmp_path):
    path = tmp_path / "w.safetensors"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for length in (2**20, 2**31, 2**62, 2**64 - 1):
        path.write_bytes(length.to_bytes(8, "little") + b'{"w":{"dtype":"F32","shape":[9]')
        assert not is_safetensors(path)
        with pytest.raises(PretrainedMismatch, match="not a complete safetensors file"):
            find_weights(path)
    header = b'{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(PretrainedMismatch, match="not a complete safetensors file"):
        find_weights(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


@pytest.mark.parametrize("length", [0, 3, 8, 9, 60, 3000, 16_000])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_cut_short_anywhere_is_one_line(tmp_path, length, suffix):
    path = tmp_path / f"w{suffix}"
    state = {f"layers.{number}.weight": torch.randn(64, 64) for number in range(4)}
    (safetensors.torch.save_file if suffix == ".safetensors" else torch.save)(state, path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(PretrainedMismatch) as caught:
        find_weights(path)
    assert "\n" not in str(caught.value)


def test_a_file_is_what_it_begins_with_and_not_what_it_is_called(tmp_path):
    state = {"w": torch.randn(3)}
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    shutil.copy(tmp_path / "w.safetensors", tmp_path / "w.pth")
    shutil.copy(tmp_path / "w.safetensors", tmp_path / "pytorch_model.bin")
    torch.save(state, tmp_path / "saved.safetensors")
    for name in ("w.pth", "pytorch_model.bin", "saved.safetensors"):
        assert torch.equal(read_tensors(tmp_path / name)["w"], state["w"])


def test_what_nobody_knows_is_not_named():
    assert begins_like(b"hello") == ""


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_what_is_empty_or_cut_short_is_said_to_be(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"")
    with pytest.raises(PretrainedMismatch, match="it is empty"):
        find_weights(path)
    safetensors.torch.save_file({f"layer{n}": torch.randn(2) for n in range(200)}, path)
    content = path.read_bytes()
    path.write_bytes(b"\x80\x23\0\0\0\0\0\0" + content[8:500])  # a length that is a pickle's, too
    with pytest.raises(PretrainedMismatch, match="safetensors that are cut short"):
        find_weights(path)
