import collections
import os
import pickle
import sys
import types
import zipfile

import pytest
import safetensors.torch
import torch

from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.tensors import read_tensors


def equal(one, other):
    assert list(one) == list(other)
    for key in one:
        assert one[key].dtype == other[key].dtype
        assert torch.equal(one[key], other[key])


def unwrapped(tensors):
    return {name.removeprefix("model."): tensor for name, tensor in tensors.items()}


def state_of_many_kinds():
    shared = torch.arange(24.0)
    return {
        "plain": torch.randn(3, 4),
        "turned": torch.randn(3, 4).T,
        "view": shared[4:10].view(2, 3),
        "other_view": shared,
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 5),
        "half": torch.randn(2).half(),
        "bfloat16": torch.randn(2).bfloat16(),
        "bool": torch.tensor([True, False]),
        "int": torch.arange(4, dtype=torch.int32),
    }


@pytest.mark.parametrize("wrap", [lambda s: {"model": s, "epoch": 3}, lambda s: s])
def test_weights_are_read_as_torch_reads_them(tmp_path, wrap):
    state = state_of_many_kinds()
    torch.save(wrap(state), tmp_path / "c.pth")
    equal(unwrapped(read_tensors(tmp_path / "c.pth")), state)


def test_weights_of_a_module_are_read(tmp_path):
    module = torch.nn.BatchNorm1d(4)  # its state_dict carries pickled attributes
    torch.save({"model": module.state_dict()}, tmp_path / "c.pth")
    equal(unwrapped(read_tensors(tmp_path / "c.pth")), dict(module.state_dict()))


def test_configuration_objects_beside_the_weights_are_left_alone(tmp_path, monkeypatch):
    module = types.ModuleType("yacs_like")

    class CfgNode(dict):
        def __setstate__(self, state):
            raise AssertionError("the configuration was built")

    CfgNode.__module__, CfgNode.__qualname__ = "yacs_like", "CfgNode"
    module.CfgNode = CfgNode
    monkeypatch.setitem(sys.modules, "yacs_like", module)
    config = CfgNode(DATA=CfgNode(IMG_SIZE=192), TAGS=[1, {2}])
    config.__dict__["frozen"] = True
    state = {"weight": torch.randn(2, 2)}
    torch.save({"config": config, "model": state}, tmp_path / "c.pth")
    monkeypatch.delitem(sys.modules, "yacs_like")
    equal(unwrapped(read_tensors(tmp_path / "c.pth")), state)


class Hostile:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("place", ["beside", "among", "as"])
@pytest.mark.parametrize("function", [os.system, exec, eval])
def test_a_hostile_checkpoint_runs_nothing(tmp_path, place, function):
    target = tmp_path / "ran"
    code = f"touch {target}" if function is os.system else f"open({str(target)!r}, 'w')"
    hostile = Hostile(function, code)
    state = {"weight": torch.randn(2, 2)}
    content = {
        "beside": {"config": hostile, "model": state},
        "among": {"model": state | {"hostile": hostile}},
        "as": {"model": hostile},
    }[place]
    torch.save(content, tmp_path / "c.pth")
    if place == "as":
        with pytest.raises(PretrainedMismatch, match="holds no tensors"):
            read_tensors(tmp_path / "c.pth")
    else:
        equal(unwrapped(read_tensors(tmp_path / "c.pth")), state)
    assert not target.exists()


def rewrite(source, target, change):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = change(name.partition("/")[2], old.read(name))
            if content is not None:
                new.writestr(name, content)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda name, raw: raw[:40] if name == "data.pkl" else raw, "unreadable data.pkl"),
        (lambda name, raw: None if name == "data.pkl" else raw, "without data.pkl"),
        (lambda name, raw: None if name == "data/0" else raw, "unreadable tensor"),
        (lambda name, raw: raw[:8] if name == "data/0" else raw, "unreadable tensor"),
        (lambda name, raw: b"big" if name == "byteorder" else raw, "big-endian"),
    ],
)
def test_a_damaged_checkpoint_is_refused(tmp_path, change, told):
    torch.save({"model": {"weight": torch.randn(8, 8)}}, tmp_path / "c.pth")
    rewrite(tmp_path / "c.pth", tmp_path / "d.pth", change)
    with pytest.raises(PretrainedMismatch, match=told):
        read_tensors(tmp_path / "d.pth")


def test_a_tensor_may_not_reach_outside_its_storage(tmp_path):
    class Liar:
        def __reduce__(self):
            storage = torch.zeros(4)._typed_storage()
            size, stride, offset = (1000,), (1,), 2
            hooks = collections.OrderedDict()
            return torch._utils._rebuild_tensor_v2, (storage, offset, size, stride, False, hooks)

    torch.save({"model": {"weight": Liar()}}, tmp_path / "c.pth")
    with pytest.raises(PretrainedMismatch, match="unreadable tensor"):
        read_tensors(tmp_path / "c.pth")


def legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def test_what_torch_wrote_before_its_zip_format_is_read_if_it_is_tensors_alone(tmp_path):
    state = state_of_many_kinds()
    legacy({"model": state}, tmp_path / "old.pth")
    equal(unwrapped(read_tensors(tmp_path / "old.pth")), state)
    target = tmp_path / "ran"
    legacy({"model": state, "x": Hostile(os.system, f"touch {target}")}, tmp_path / "bad.pth")
    with pytest.raises(PretrainedMismatch, match="save the state_dict alone"):
        read_tensors(tmp_path / "bad.pth")
    assert not target.exists()


def test_parameters_are_read_and_a_dictionary_is_entered_once(tmp_path):
    one = {"w": torch.nn.Parameter(torch.ones(2))}
    content = {"a": {"b": one}, "again": one, "deep": {1: {"w": torch.zeros(1)}}}
    content["itself"] = content
    torch.save(content, tmp_path / "c.pth")
    tensors = read_tensors(tmp_path / "c.pth")
    assert list(tensors) == ["a.b.w", "deep.1.w"]
    assert torch.equal(tensors["a.b.w"], torch.ones(2))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (pickle.dumps({"model": {}}, protocol=2), "damaged, or pickles more than tensors"),
        (b"<!DOCTYPE html>", "begins with b'<!DOCTYPE html>', a web page; fetch it again"),
        (b"", "begins with b''"),
    ],
)
def test_what_is_no_file_of_tensors_is_refused(tmp_path, content, told):
    (tmp_path / "c.pth").write_bytes(content)
    with pytest.raises(PretrainedMismatch, match=told):
        read_tensors(tmp_path / "c.pth")


def test_a_file_cut_short_is_refused(tmp_path):
    for name in ("c.pth", "c.safetensors"):
        path = tmp_path / name
        save = torch.save if name == "c.pth" else safetensors.torch.save_file
        save({"w": torch.randn(64, 64)}, path)
        path.write_bytes(path.read_bytes()[:3000])
        with pytest.raises(PretrainedMismatch, match=r"cut short|not a complete"):
            read_tensors(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "an empty dictionary"),
        ({"epoch": 3, "lr": 1}, "a dictionary of 'epoch', 'lr'"),
        (torch.zeros(1), "other than a dictionary"),
        ([torch.zeros(1)], "other than a dictionary"),
        (torch.nn.Linear(1, 1), "other than a dictionary"),
    ],
)
def test_a_file_without_named_tensors_says_what_it_holds(tmp_path, content, told):
    torch.save(content, tmp_path / "c.pth")
    with pytest.raises(PretrainedMismatch, match=rf"{told}; torch\.save the model's state_dict"):
        read_tensors(tmp_path / "c.pth")
