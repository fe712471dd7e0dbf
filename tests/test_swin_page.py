"""The Python of docs/swin.md prints what the page says it prints, block after block."""

import re
from pathlib import Path

TEXT = (Path(__file__).parents[1] / "docs" / "swin.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", TEXT, re.M | re.S)


def test_every_block_prints_what_stands_below_it(capsys):
    names = {}
    for code, told in BLOCKS:
        exec(compile(code, "docs/swin.md", "exec"), names)
        assert capsys.readouterr().out == told


def test_every_block_of_the_page_is_tried():
    assert len(BLOCKS) == TEXT.count("```python") > 6
