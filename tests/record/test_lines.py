import json
import subprocess
import sys

import pytest

from ssl_swin.record.lines import append_line, read_json, read_lines, write_text
from ssl_swin.record.run_folder import RunFolder


def test_text_is_written_as_utf8(tmp_path):
    write_text(tmp_path / "a" / "x", "größer\n")
    assert (tmp_path / "a" / "x").read_bytes() == "größer\n".encode()


def test_lines_are_added_and_outlive_a_killed_process(tmp_path):
    path = RunFolder(tmp_path).ledger(3)
    append_line(path, {"step": 0})
    code = (
        "import os, pathlib; from ssl_swin.record.lines import append_line; "
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


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", b"\xff\xfe"])
def test_a_file_that_is_no_json_object_reads_as_an_empty_one(tmp_path, text):
    path = tmp_path / "owner.json"
    assert read_json(path) == {}
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert read_json(path) == {}
    write_text(path, '{"life": 1}\n')
    assert read_json(path) == {"life": 1}


@pytest.mark.parametrize("read", [read_json, read_lines])
def test_a_failure_of_the_storage_is_no_empty_file_and_names_it(tmp_path, read):
    path = tmp_path / "file"
    path.symlink_to("/proc/self/mem")  # Linux has no first byte of it
    with pytest.raises(OSError, match=f"Input/output error: '{path}'"):
        read(path)
