from dataclasses import replace

from ssl_swin.demo import demo
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import Summary, write_summary


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


def test_it_ends_with_the_frozen_encoder_beside_random_weights_then_the_table(tmp_path, capsys):
    out, called = tmp_path / "out", []

    def run(arguments):
        called.append(arguments)
        if arguments[0] != "evaluate":
            folder = RunFolder(out / arguments[arguments.index("--run-dir") + 1])
            (folder.root / "panels").mkdir(parents=True)
            (folder.root / "panels" / "step-0000001.png").touch()
            top1 = None if arguments[0] == "pretrain" else 50.0
            start = "an encoder" if "--encoder" in arguments else "scratch"
            found = Summary(arguments[0], "x", 0, 1, 1.0, 1, None, top1=top1, num_labels=200)
            write_summary(folder, replace(found, start=start))
        return 0

    assert demo(run, str(out), num_seeds=1) == 0
    assert [words[0] for words in called] == ["pretrain", "finetune", "finetune", "evaluate"]
    assert called[-1][1:3] == [str(out / "pretrain"), "random"]
    assert called[-1][-1] == str(out / "frozen")
    assert "Top-1 on test images" in capsys.readouterr().out
