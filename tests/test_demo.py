from pathlib import Path

import pytest

from ssl_swin.demo import demo
from ssl_swin.errors import UserError

ROOT = Path(__file__).parents[1]


def test_outside_of_a_checkout_it_says_where_to_go(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="run it from there"):
        demo(len, str(tmp_path / "out"))


def test_it_prints_each_command_and_ends_with_the_first_that_fails(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(ROOT)
    called = []

    def run(arguments):
        called.append(arguments[0])
        return 75 if arguments[0] == "finetune" else 0

    assert demo(run, str(tmp_path / "my out"), seed=3) == 75
    assert called == ["pretrain", "finetune"]
    told = capsys.readouterr().out
    place = f"{tmp_path}/my out/pretrain"
    assert f"$ ssl-swin pretrain configs/pretrain/demo.yaml --run-dir '{place}' --seed 3" in told
