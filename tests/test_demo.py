from ssl_swin.demo import demo


def test_it_prints_each_command_and_ends_with_the_first_that_fails(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)  # not in a checkout
    called = []

    def run(arguments):
        called.append(arguments[0])
        return 75 if arguments[0] == "finetune" else 0

    assert demo(run, str(tmp_path / "my out"), seed=3) == 75
    assert called == ["pretrain", "finetune"]
    told = capsys.readouterr().out
    place = f"{tmp_path}/my out/pretrain"
    assert f"$ ssl-swin pretrain demo --run-dir '{place}' --seed 3" in told
