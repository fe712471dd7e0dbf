import json

import pytest

from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import (
    DamagedSummary,
    Summary,
    is_finished,
    read_summary,
    write_summary,
)

SUMMARY = Summary("pretrain", "run", 0, 20, 1.25, 160, 0.5, heldout_loss=0.6, lives=3)


def test_a_summary_is_read_back_as_it_was_written(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert read_summary(folder) is None
    write_summary(folder, SUMMARY)
    assert read_summary(folder) == SUMMARY
    assert json.loads(folder.summary.read_text())["top1"] is None


@pytest.mark.parametrize("text", ["", "{", '{"kind": "pretr'])
def test_half_a_summary_is_told_as_such(tmp_path, text):
    folder = RunFolder(tmp_path)
    folder.summary.write_text(text)
    with pytest.raises(DamagedSummary, match=r"summary.json is cut off or damaged"):
        read_summary(folder)


@pytest.mark.parametrize("text", ["[]", '{"kind": "pretrain"}', '{"unknown": 1}', "3"])
def test_what_is_no_summary_is_refused_by_its_name(tmp_path, text):
    folder = RunFolder(tmp_path)
    folder.summary.write_text(text)
    with pytest.raises(ValueError, match=r"summary.json is not a summary of this version"):
        read_summary(folder)


@pytest.mark.parametrize(("text", "finished"), [(None, False), ("{", False), ("{}", True)])
def test_a_run_whose_summary_is_cut_off_goes_on(tmp_path, text, finished):
    folder = RunFolder(tmp_path)
    if text is not None:
        folder.summary.write_text(text)
    assert is_finished(folder) is finished
