import inspect
import json
import os
import subprocess
import sys

import pytest

from ssl_swin.record.run_folder import (
    RunFolder,
    Summary,
    append_line,
    read_lines,
    read_summary,
    write_summary,
    write_text,
)

SUMMARY = Summary("pretrain", "run", 0, 20, 1.25, 160, 0.5, heldout_loss=0.6, lives=3)


def test_every_file_is_in_the_folder_and_none_is_another(tmp_path):
    folder = RunFolder(tmp_path)
    plain = [getattr(folder, n) for n, p in vars(RunFolder).items() if isinstance(p, property)]
    numbered = [
        getattr(folder, name)(number)
        for name, method in inspect.getmembers(RunFolder, inspect.isfunction)
        if not name.startswith("_")
        for number in (0, 7, 12345)
    ]
    paths = plain + numbered
    assert len(numbered) == 5 * 3
    assert len(set(paths)) == len(paths)
    assert all(path.is_relative_to(tmp_path) for path in paths)
    assert sorted(map(folder.kept, (9, 10, 100))) == [folder.kept(n) for n in (9, 10, 100)]
    assert os.listdir(tmp_path) == []  # asking makes nothing


def test_a_summary_is_read_back_as_it_was_written(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert read_summary(folder) is None
    write_summary(folder, SUMMARY)
    assert read_summary(folder) == SUMMARY
    assert json.loads(folder.summary.read_text())["top1"] is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"kind": "pretrain"}', '{"unknown": 1}', "3"])
def test_what_is_no_summary_is_refused_by_its_name(tmp_path, text):
    folder = RunFolder(tmp_path)
    folder.summary.write_text(text)
    with pytest.raises(ValueError, match=r"summary.json is not a summary of this version"):
        read_summary(folder)


def test_text_is_written_as_utf8(tmp_path):
    write_text(tmp_path / "a" / "x", "größer\n")
    assert (tmp_path / "a" / "x").read_bytes() == "größer\n".encode()


def test_lines_are_added_and_outlive_a_killed_process(tmp_path):
    path = RunFolder(tmp_path).ledger(3)
    append_line(path, {"step": 0})
    code = (
        "import os, pathlib; from ssl_swin.record.run_folder import append_line; "
        f"append_line(pathlib.Path({str(path)!r}), {{'step': 1}}); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 1]


@pytest.mark.parametrize(
    "torn", [b'{"step": 1, "no', b"\0" * 20, b"\xff\xfe", b"[1]", b'{"step": 1}']
)
def test_a_line_that_was_not_finished_spoils_no_other(tmp_path, torn):
    path = tmp_path / "lines.jsonl"
    assert read_lines(path) == []
    append_line(path, {"step": 0})
    with path.open("ab") as file:
        file.write(torn)
    whole = [{"step": 1}] if torn.endswith(b"1}") else []
    assert read_lines(path) == [{"step": 0}, *whole]
    append_line(path, {"step": 2})
    append_line(path, {"step": 3})
    assert read_lines(path) == [{"step": 0}, *whole, {"step": 2}, {"step": 3}]
    assert path.read_bytes() == b'{"step": 0}\n' + torn + b'\n{"step": 2}\n{"step": 3}\n'
