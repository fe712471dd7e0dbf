from ssl_swin.data.shards import one_maker
from ssl_swin.shard_tools.progress import counting


def test_without_a_terminal_a_line_is_written_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(one_maker, "_TELL_EVERY_S", 0.0)
    with counting("packing", 2000, done=500) as count:
        count(700)
    said = capsys.readouterr().err
    assert said.startswith("packing: 1,200 of 2,000 images, ")
    assert said.endswith(" images/s\n")
    with counting("scanning", None) as count:
        count(3)
    assert capsys.readouterr().err.startswith("scanning: 3 images, ")


def test_short_work_says_nothing(capsys):
    with counting("packing", 1) as count:
        count(1)
    assert capsys.readouterr() == ("", "")
