"""The Python of docs/swin.md and vit.md prints what the page says, block after block."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
TEXTS = {page: (DOCS / page).read_text(encoding="utf-8") for page in ("swin.md", "vit.md")}
BLOCKS = {
    page: re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", text, re.M | re.S)
    for page, text in TEXTS.items()
}


@pytest.mark.parametrize("page", BLOCKS)
def test_every_block_prints_what_stands_below_it(capsys, page):
    names = {}
    for code, told in BLOCKS[page]:
        exec(compile(code, f"docs/{page}", "exec"), names)
        assert capsys.readouterr().out == told


@pytest.mark.parametrize(("page", "least"), [("swin.md", 7), ("vit.md", 1)])
def test_every_block_of_the_page_is_tried(page, least):
    assert len(BLOCKS[page]) == TEXTS[page].count("```python") >= least
