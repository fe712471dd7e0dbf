from dataclasses import replace

import pytest

from ssl_swin.errors import UserError
from ssl_swin.pretrained.export import formats
from ssl_swin.pretrained.export.formats import EXPORT_FORMATS, fitting
from ssl_swin.pretrained.export.handoff import open_handoff


def test_each_format_takes_a_swin_of_the_paper(run):
    handed = open_handoff(str(run[0]))
    for name in EXPORT_FORMATS:
        assert fitting(name, handed) is EXPORT_FORMATS[name]


def test_what_a_format_cannot_express_is_told_with_those_that_can(run, monkeypatch):
    handed = open_handoff(str(run[0]))
    cannot = replace(EXPORT_FORMATS["timm"], misfit=lambda _: "model.a=b")
    can = EXPORT_FORMATS["safetensors"]
    monkeypatch.setattr(formats, "EXPORT_FORMATS", {"one": cannot, "two": can, "three": can})
    with pytest.raises(UserError, match=r"format=one cannot express model.a=b; use .* two, three"):
        fitting("one", handed)
    assert fitting("two", handed) is can
