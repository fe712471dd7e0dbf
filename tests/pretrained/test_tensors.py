import collections
import os
import pickle
import sys
import types
import zipfile

import pytest
import torch

from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.tensors import read_tensors


def equal(one, other):
    assert list(one) == list(other)
    for key in one:
        assert one[key].dtype == other[key].dtype
        assert torch.equal(one[key], other[key])


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
    equal(read_tensors(tmp_path / "c.pth")[0], state)


def test_weights_of_a_module_are_read(tmp_path):
    module = torch.nn.BatchNorm1d(4)  # its state_dict carries pickled attributes
    torch.save({"model": module.state_dict()}, tmp_path / "c.pth")
    equal(read_tensors(tmp_path / "c.pth")[0], dict(module.state_dict()))


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
    equal(read_tensors(tmp_path / "c.pth")[0], state)


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
        with pytest.raises(PretrainedMismatch, match="holds no weights"):
            read_tensors(tmp_path / "c.pth")
    else:
        equal(read_tensors(tmp_path / "c.pth")[0], state)
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


def test_files_of_another_kind_are_refused(tmp_path):
    torch.save(
        {"model": {"w": torch.zeros(1)}},
        tmp_path / "old.pth",
        _use_new_zipfile_serialization=False,
    )
    with pytest.raises(PretrainedMismatch, match="not in torch's zip format"):
        read_tensors(tmp_path / "old.pth")
    (tmp_path / "pickle.pth").write_bytes(pickle.dumps({"model": {}}))
    with pytest.raises(PretrainedMismatch, match="not in torch's zip format"):
        read_tensors(tmp_path / "pickle.pth")
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    with pytest.raises(PretrainedMismatch, match="holds no weights"):
        read_tensors(tmp_path / "none.pth")
