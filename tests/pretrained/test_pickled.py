import os
import pickle
import resource
import zipfile

import pytest
import torch

from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.pickled import UNREADABLE, Recipe, described
from ssl_swin.pretrained.tensors import read_tensors


def test_plain_things_are_read_and_others_are_placeholders_that_do_nothing():
    content = {"a": [1, (2.5, None)], "b": {"c": "text", "d": True}}
    assert described(pickle.dumps(content, protocol=2)) == content
    thing = described(pickle.dumps({"call": os.getcwd}, protocol=2))["call"]
    assert thing()("any", number=1) != os.getcwd()
    assert os.getcwd.__name__ not in repr(thing())


@pytest.mark.parametrize("raw", [b"", b"\x80\x02", b"\x80\x02}", b"\xff", b"N", b"\x80\x02)R."])
def test_what_is_no_pickle_is_one_of_the_named_errors(raw):
    with pytest.raises(UNREADABLE):
        described(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x80\x02}r\xff\xff\xff\x07.",  # an object that is numbered 2**27: a table of 2 GB
        b"}p134217727\n.",
        b"\x80\x05\x96" + (2**31).to_bytes(8, "little") + b".",  # bytes that are not there
        b"\x80\x04\x8e" + (2**31).to_bytes(8, "little") + b".",
        b"\x80\x02X\xff\xff\xff\x7f.",
    ],
)
def test_a_pickle_that_asks_for_memory_gets_none(raw):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UNREADABLE):
        described(raw)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def stored(numbers):
    return lambda _key, dtype: torch.arange(numbers, dtype=dtype)


def recipe(size, stride, offset=0):
    return Recipe(("0", torch.float32), offset, size, stride)


def test_a_tensor_is_no_larger_than_what_is_stored_of_it():
    assert recipe((2, 3), (3, 1)).build(stored(6)).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert recipe((3, 2), (0, 1)).build(stored(2)).tolist() == [[0, 1]] * 3  # small enough
    for one in (recipe((2**29,), (0,)), recipe((2**15, 2**15), (0, 0)), recipe((-1,), (1,))):
        with pytest.raises(ValueError, match=r"numbers of 2 in storage 0|a negative size"):
            one.build(stored(2))
    with pytest.raises(RuntimeError, match="out of bounds"):
        recipe((3,), (1,)).build(stored(2))


def test_a_file_that_unpacks_to_more_than_itself_is_refused(tmp_path):
    torch.save({"w": torch.zeros(2**22)}, tmp_path / "c.pth")
    with (
        zipfile.ZipFile(tmp_path / "c.pth") as old,
        zipfile.ZipFile(tmp_path / "d.pth", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert (tmp_path / "d.pth").stat().st_size < 2**16
    with pytest.raises(PretrainedMismatch, match="unpacks to more than itself"):
        read_tensors(tmp_path / "d.pth")


def test_many_tensors_of_one_storage_are_refused_and_a_few_are_not(tmp_path):
    shared = torch.zeros(2**21)
    torch.save({str(number): shared.view(1, -1) for number in range(3)}, tmp_path / "few.pth")
    assert len(read_tensors(tmp_path / "few.pth")) == 3
    torch.save({str(number): shared.view(1, -1) for number in range(12)}, tmp_path / "many.pth")
    with pytest.raises(PretrainedMismatch, match="more than 4 times as many"):
        read_tensors(tmp_path / "many.pth")


def test_a_tensor_of_torch_before_its_zip_format_is_no_larger_than_its_file(tmp_path):
    content = {"w": torch.zeros(1).expand(2**29)}
    torch.save(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(PretrainedMismatch, match="w is larger than the file"):
        read_tensors(tmp_path / "old.pth")
