import os

import pytest

from ssl_swin.shard_tools.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zoë 日本語", "Zoë 日本語"),
        (" two\nlines\tand a tab ", "two lines and a tab"),
        (os.fsdecode(b"caf\xe9.jpg"), "caf\\udce9.jpg"),
    ],
)
def test_any_text_is_one_line_of_utf_8(text, shown):
    assert printable(text) == shown
    assert shown.encode("utf-8")
