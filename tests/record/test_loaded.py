import pytest

from ssl_swin.record.loaded import CAME, read_loaded, write_loaded
from ssl_swin.record.run_folder import RunFolder

FOUND = {
    "source": "swin_t.pth",
    "kind": "torchvision's Swin",
    "where": "",
    "loaded": ("a", "b"),
    "remapped": (("features.0", "a"),),
    "resized": (),
    "dropped": ("head.weight",),
    "missing": (),
    "remarks": ("channels 3 -> 1",),
}


def test_what_became_of_a_file_is_read_back_by_name(tmp_path):
    folder = RunFolder(tmp_path)
    write_loaded(folder, FOUND)
    found = read_loaded(folder)
    assert (found.source, found.kind) == ("swin_t.pth", "torchvision's Swin")
    assert tuple(found.named) == CAME
    assert found.named["remapped"] == ["features.0 -> a"]
    assert found.remarks == ["channels 3 -> 1"]
    assert found.told == "torchvision's Swin: 2 loaded, 1 remapped, 1 dropped"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"kind": 3}', None])
def test_a_run_that_does_not_tell_has_none(tmp_path, text):
    folder = RunFolder(tmp_path)
    if text is not None:
        folder.loaded.write_text(text)
    assert read_loaded(folder) is None


def test_half_a_record_tells_what_it_has(tmp_path):
    folder = RunFolder(tmp_path)
    write_loaded(folder, {"kind": "any", "loaded": 3, "dropped": [1, ["a", 2]]})
    found = read_loaded(folder)
    assert (found.named["loaded"], found.named["dropped"]) == ([], ["1", "a -> 2"])
    assert found.told == "any: 2 dropped"
