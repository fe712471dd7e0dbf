import ast
import re
from pathlib import Path

import pytest

from ssl_swin.data.shards import left_out
from ssl_swin.data.shards.left_out import add_up, describe, leave_out, parse


def test_what_is_left_out_adds_up_under_the_first_example():
    first, second = {}, {}
    leave_out(first, left_out.HIDDEN, "a/.x.png")
    leave_out(first, left_out.HIDDEN, "a/.y.png")
    leave_out(second, left_out.HIDDEN, "b/.z.png", 3)
    leave_out(second, left_out.NO_IMAGE, "new\nline\udcff" + "long" * 99)
    leave_out(second, left_out.NO_FILE, "none", 0)
    total = add_up([first, None, second])
    assert total[left_out.HIDDEN] == (5, "a/.x.png")
    assert total[left_out.NO_IMAGE][1].startswith("new line\\udcfflong")
    assert len(total[left_out.NO_IMAGE][1]) == 100
    assert left_out.NO_FILE not in total
    (line,) = describe(total, "SHARDS")
    assert line.startswith(f"left out of SHARDS: 5 {left_out.HIDDEN}, as 'a/.x.png'; 1 keys ")
    assert describe({}, "SHARDS") == []


def test_it_is_read_back_from_json_or_refused():
    assert parse(None) is None
    assert parse({"reason": [2, "x"]}) == {"reason": (2, "x")}
    for wrong in ([], {"reason": 2}, {"reason": [0, "x"]}, {"reason": ["many", "x"]}, "text"):
        with pytest.raises((ValueError, TypeError, AttributeError)):
            parse(wrong)


def test_every_reason_is_used_somewhere():
    names = {name for name in vars(left_out) if name.isupper() and not name.startswith("_")}
    used = set()
    for path in Path("ssl_swin").rglob("*.py"):
        if path.name != "left_out.py":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert names - used == set()
    assert all(re.fullmatch(r"[\w\',@()= -]+", getattr(left_out, name)) for name in names)
