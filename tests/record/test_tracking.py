import importlib.util
import json

import pytest

from ssl_swin.errors import UserError
from ssl_swin.record.lines import append_line
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.tracking import PACKAGES, Points, Sent, require_packages


def test_a_package_that_is_missing_is_named_with_what_to_type():
    for name in PACKAGES:
        if importlib.util.find_spec(name) is None:
            with pytest.raises(UserError, match=rf"pip install 'ssl-swin\[{name}\]'"):
                require_packages(["csv", name])
        else:
            require_packages([name])
    require_packages(["tensorboard", "csv"])


def test_steps_that_are_done_again_are_sent_once(tmp_path):
    folder = RunFolder(tmp_path)
    sent = Sent(folder, "wandb")
    sent.note(["loss", "lr"], 4)
    sent.note(["loss"], 6)
    sent.write()
    again = Sent(folder, "wandb")
    assert again.id == sent.id != Sent(folder, "mlflow").id
    assert again.unsent({"step": 5, "loss": 0.5, "lr": 0.1, "top1": 7.0}) == {
        "lr": 0.1,
        "top1": 7.0,
    }
    assert again.unsent({"step": 7, "loss": 0.5}) == {"loss": 0.5}


def test_what_the_tracker_lost_is_sent_again(tmp_path):
    sent = Sent(RunFolder(tmp_path), "wandb")
    sent.note(["loss"], 6)
    sent.forget_after(4)
    assert [step for step in range(8) if sent.unsent({"step": step, "loss": 1.0})] == [5, 6, 7]


def test_a_damaged_record_begins_anew(tmp_path):
    folder = RunFolder(tmp_path)
    Sent(folder, "wandb").write()
    folder.tracking("wandb").write_text('{"id": ')
    assert Sent(folder, "wandb").unsent({"step": 0, "loss": 1.0})


def test_lines_are_read_once_and_whole(tmp_path):
    path = tmp_path / "metrics.jsonl"
    points = Points(path)
    assert list(points.new()) == []
    append_line(path, {"step": 1})
    with path.open("a") as file:
        file.write(json.dumps({"step": 2})[:4])  # on its way
    assert list(points.new()) == [{"step": 1}]
    append_line(path, {"step": 3})  # the one before was cut off
    assert list(points.new()) == [{"step": 3}]
    assert list(points.new()) == []


def test_a_line_whose_sending_failed_comes_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    points = Points(path)
    for step in (1, 2):
        append_line(path, {"step": step})
    for line in points.new():
        if line["step"] == 2:
            break
    assert list(points.new()) == [{"step": 2}]
